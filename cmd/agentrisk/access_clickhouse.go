package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

// The users are files for ClickHouse's users.d, made from templates.
var (
	//go:embed access_users.xml
	usersXML string
	//go:embed access_reader.xml
	readerXML string
	//go:embed access_views.sql
	viewsSQL string

	accessTemplates = template.Must(template.Must(template.Must(template.New("users").Parse(usersXML)).New("reader").Parse(readerXML)).New("views").Parse(viewsSQL))
)

var clickHouseRoles = []string{"writer", "operator", "analyst"}

// access is what the templates are filled with.
type access struct {
	Database string
	Roles    []string
	Provider string // of a reader
	Digest   string // SHA-256 of the password, hexadecimal; empty: from the environment of the server
}

// Has reports whether the role is wanted.
func (a access) Has(role string) bool { return slices.Contains(a.Roles, role) }

// Password is the element that says how a user proves who it is.
func (a access) Password(user string) string {
	if a.Digest != "" {
		return "<password_sha256_hex>" + a.Digest + "</password_sha256_hex>"
	}
	name := strings.ToUpper(strings.ReplaceAll(user, "-", "_")) + "_SHA256"
	return `<password_sha256_hex from_env="` + name + `"/>`
}

// providerName is what may be part of a user's, a database's and an XML element's name.
var providerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,39}$`)

func (a access) write(w io.Writer, name string) error {
	var b bytes.Buffer
	if err := accessTemplates.ExecuteTemplate(&b, name, a); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func accessClickHouseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clickhouse",
		Short: "Print ClickHouse's users, as files for users.d",
		Long: `Prints an XML file for /etc/clickhouse-server/users.d with the users of the roles:

  writer     agentrisk run
  operator   agentrisk migrate, reconcile and the like, run by people
  analyst    reads everything, changes nothing, reaches nothing outside of the database

With --provider it prints the reader of one provider, who sees that provider's rows and nothing else, through views in a
database of its own; --views prints the SQL that makes them, for an administrator to run once the file is in place, and
again after a migration. deploy/clickhouse/config.d/agentrisk.xml must be in place, too.

A password is never printed: the server takes its SHA-256 from its environment (AGENTRISK_WRITER_SHA256 and so on), or it is
put into the file with --password-file.`,
		Example: `  agentrisk access clickhouse --config agentrisk.yaml > users.d/agentrisk.xml
  agentrisk access clickhouse --config agentrisk.yaml --provider alibaba_cloud --password-file p > users.d/alibaba_cloud.xml
  agentrisk access clickhouse --config agentrisk.yaml --provider alibaba_cloud --views | clickhouse-client --multiquery`,
		Args: cobra.NoArgs,
	}
	path := configFlag(cmd)
	f := cmd.Flags()
	role := f.String("role", "", "only this role: "+strings.Join(clickHouseRoles, ", "))
	provider := f.String("provider", "", "the reader of this provider")
	views := f.Bool("views", false, "print the reader's views instead")
	password := f.String("password-file", "", "put the SHA-256 of the password in this file into the output")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(clickHouseRoles, noFiles))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(*path)
		if err != nil {
			return err
		}
		a := access{Database: c.ClickHouse.Database, Roles: clickHouseRoles, Provider: *provider}
		switch {
		case *role != "" && *provider != "":
			return usageError{errors.New("--role and --provider: give one; a provider has the role of a reader")}
		case *role != "" && !slices.Contains(clickHouseRoles, *role):
			return usageError{fmt.Errorf("--role %q: want one of %s; --provider P prints a reader", *role, strings.Join(clickHouseRoles, ", "))}
		case *role != "":
			a.Roles = []string{*role}
		case *views && *provider == "":
			return usageError{errors.New("--views: whose? say --provider too")}
		case *provider != "" && !providerName.MatchString(*provider):
			return usageError{fmt.Errorf("--provider %q: for a user's name want a letter and then letters, digits, _ and -, at most 40", *provider)}
		}
		if *password != "" {
			if len(a.Roles) > 1 && *provider == "" {
				return usageError{errors.New("--password-file: every role has its own: say --role too")}
			}
			var secret string
			if err := passwordFrom("--password-file", *password, &secret); err != nil {
				return err
			}
			a.Digest = fmt.Sprintf("%x", sha256.Sum256([]byte(secret)))
		}
		switch {
		case *views:
			return a.write(cmd.OutOrStdout(), "views")
		case *provider != "":
			return a.write(cmd.OutOrStdout(), "reader")
		}
		return a.write(cmd.OutOrStdout(), "users")
	}
	return cmd
}
