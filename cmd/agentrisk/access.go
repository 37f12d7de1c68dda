package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func accessCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Print the rights that each role needs, in Kafka and ClickHouse",
		Long: `Prints exactly what each role needs, for the topics, group and database of the configuration: nothing works with less,
and nothing needs more. It connects to nothing and opens no file that the configuration names. deploy/USERS.md says what
each role is for.`,
	}
	cmd.AddCommand(accessKafkaCommand(), accessClickHouseCommand())
	return cmd
}

// Roles towards Kafka.
const (
	rolePipeline = "pipeline"
	roleNotifier = "notifier"
	roleProducer = "producer"
	roleOperator = "operator"
)

var kafkaRoles = []string{rolePipeline, roleNotifier, roleProducer, roleOperator}

// kafkaRight is one ACL.
type kafkaRight struct {
	Role      string `json:"role"`
	Principal string `json:"principal"`
	Operation string `json:"operation"` // READ, WRITE, CREATE, DESCRIBE, DESCRIBE_CONFIGS
	Resource  string `json:"resource"`  // topic or group
	Name      string `json:"name"`
	Pattern   string `json:"pattern"` // literal or prefixed
	Why       string `json:"why"`
}

// command is the right as kafka-acls.sh takes it.
func (r kafkaRight) command(tool string) string {
	operation := ""
	for word := range strings.SplitSeq(r.Operation, "_") {
		operation += word[:1] + strings.ToLower(word[1:])
	}
	return fmt.Sprintf("%s --add --allow-principal %s --operation %s --%s %s --resource-pattern-type %s", tool, shellWord(r.Principal), operation, r.Resource, shellWord(r.Name), r.Pattern)
}

// shellWord quotes what a shell would read otherwise.
func shellWord(s string) string {
	if strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._-:/", c)
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// notifyGroups begins the name of every channel's consumer group.
const notifyGroups = "agentrisk.notify."

// kafkaRights lists what a role needs. A right to READ or WRITE lets its holder DESCRIBE too.
func (c *Config) kafkaRights(role, principal, provider string) []kafkaRight {
	var list []kafkaRight
	add := func(operation, resource, name, why string) {
		name, pattern := aclPattern(name)
		r := kafkaRight{role, principal, operation, resource, name, pattern, why}
		if name != "" && !slices.ContainsFunc(list, func(o kafkaRight) bool {
			return o.Operation == operation && o.Resource == resource && o.Name == name && o.Pattern == pattern
		}) {
			list = append(list, r)
		}
	}
	var events []string
	for i := range c.Bindings {
		events = append(events, c.Bindings[i].Topics)
	}
	outbox, refused, dead := c.Alerts.Topic, "", c.DeadLetters.Topic
	if outbox != "" {
		refused = outbox + ".dead"
	}
	notifier := func() {
		add("READ", "topic", outbox, "take alerts to the channel")
		add("READ", "group", notifyGroups+"*", "and remember which")
		add("WRITE", "topic", refused, "set aside what the receiver refuses for good")
	}
	switch role {
	case rolePipeline:
		for _, t := range events {
			add("READ", "topic", t, "fetch events")
		}
		add("READ", "group", c.Kafka.Group, "join the group, and commit plans")
		add("WRITE", "topic", outbox, "write alerts")
		add("WRITE", "topic", dead, "write what is no event")
		if c.Alerts.Webhook.URL != "" { // then `run` delivers, too
			notifier()
		}
	case roleNotifier:
		notifier()
	case roleProducer:
		for i := range c.Bindings {
			add("WRITE", "topic", c.Bindings[i].TopicOf(provider), "publish events of "+provider)
		}
	case roleOperator:
		for _, t := range events {
			add("READ", "topic", t, "reconcile, replay and check: read what the log holds")
		}
		add("READ", "topic", dead, "look at dead letters")
		add("WRITE", "topic", dead, "reconcile --repair: write the ones that are missing")
		add("WRITE", "topic", outbox, "repair and replay: write the alerts of what is stored late")
		for _, t := range append(events, outbox, refused, dead) {
			add("CREATE", "topic", t, "migrate: make topics")
			add("DESCRIBE", "topic", t, "migrate: see that they are there")
			add("DESCRIBE_CONFIGS", "topic", t, "migrate: see whose clock their records bear")
		}
		add("DESCRIBE", "group", c.Kafka.Group, "see how far the group is")
	}
	all := slices.Clone(list)
	return slices.DeleteFunc(list, func(r kafkaRight) bool {
		return slices.ContainsFunc(all, func(o kafkaRight) bool { return o.implies(r) })
	})
}

// implies reports whether o makes r needless: who may READ or WRITE may DESCRIBE, and a prefix covers what begins with it.
func (o kafkaRight) implies(r kafkaRight) bool {
	same := o.Name == r.Name && o.Pattern == r.Pattern
	switch {
	case o.Resource != r.Resource:
		return false
	case o.Operation == r.Operation:
		return !same && (o.Name == "*" || o.Pattern == "prefixed" && strings.HasPrefix(r.Name, o.Name))
	}
	return same && r.Operation == "DESCRIBE" && (o.Operation == "READ" || o.Operation == "WRITE")
}

// aclPattern turns a pattern of ours into one of Kafka's, which knows prefixes only: what stands before the first *.
func aclPattern(topics string) (name, pattern string) {
	head, _, star := strings.Cut(topics, "*")
	switch {
	case !star:
		return topics, "literal"
	case head == "":
		return "*", "literal" // which stands for all
	}
	return head, "prefixed"
}

func accessKafkaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kafka",
		Short: "Print the ACLs of each role, as commands of kafka-acls.sh",
		Long: `Prints one command for each right, with its reason. Roles:

  pipeline   agentrisk run; with a webhook configured the rights of the notifier too, because it then delivers
  notifier   agentrisk notify
  producer   a provider's own programs, each to its own topic only: one for each of the configuration's providers
  operator   agentrisk migrate, reconcile, check and the like, run by people

The principal is kafka.sasl.user for the pipeline and agentrisk-ROLE, or agentrisk-PROVIDER, for the others; with mutual TLS
it is what the brokers' ssl.principal.mapping.rules make of the certificate's subject.`,
		Example: `  agentrisk access kafka --config agentrisk.yaml --role pipeline
  agentrisk access kafka --config agentrisk.yaml --provider alibaba_cloud --principal User:CN=alibaba`,
		Args: cobra.NoArgs,
	}
	path := configFlag(cmd)
	asJSON := output(cmd)
	f := cmd.Flags()
	role := f.String("role", "", "only this role: "+strings.Join(kafkaRoles, ", "))
	principal := f.String("principal", "", "who has the role, as Kafka names users: User:name")
	provider := f.String("provider", "", "the producer of this provider")
	bootstrap := f.String("bootstrap-server", "", "address in the commands (default: the first of kafka.brokers)")
	admin := f.String("command-config", "admin.properties", "file in the commands that lets kafka-acls.sh in")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(kafkaRoles, noFiles))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(*path)
		if err != nil {
			return err
		}
		roles := kafkaRoles
		if *provider != "" {
			*role = cmp.Or(*role, roleProducer)
		}
		if *role != "" {
			if !slices.Contains(kafkaRoles, *role) {
				return usageError{fmt.Errorf("--role %q: want one of %s", *role, strings.Join(kafkaRoles, ", "))}
			}
			roles = []string{*role}
		} else if *principal != "" {
			return usageError{fmt.Errorf("--principal: whose? say --role too")}
		}
		if *principal != "" && !strings.Contains(*principal, ":") {
			*principal = "User:" + *principal
		}
		var list []kafkaRight
		for _, r := range roles {
			switch r {
			case roleProducer:
				providers := c.Providers
				if *provider != "" {
					providers = []string{*provider}
				}
				for _, p := range providers {
					rights := c.kafkaRights(r, cmp.Or(*principal, "User:agentrisk-"+p), p)
					if len(rights) == 0 {
						return fmt.Errorf("no binding has a topic for provider %q", p)
					}
					list = append(list, rights...)
				}
			case rolePipeline:
				list = append(list, c.kafkaRights(r, cmp.Or(*principal, "User:"+cmp.Or(c.Kafka.SASL.User, "agentrisk-pipeline")), "")...)
			default:
				list = append(list, c.kafkaRights(r, cmp.Or(*principal, "User:agentrisk-"+r), "")...)
			}
		}
		out := cmd.OutOrStdout()
		if asJSON() {
			return writeLines(out, true, list, nil)
		}
		tool := fmt.Sprintf("kafka-acls.sh --bootstrap-server %s --command-config %s", shellWord(cmp.Or(*bootstrap, c.Kafka.Brokers[0])), shellWord(*admin))
		return writeACLs(out, tool, list)
	}
	return cmd
}

func writeACLs(w io.Writer, tool string, list []kafkaRight) error {
	who := ""
	for _, r := range list {
		if r.Role+r.Principal != who {
			who = r.Role + r.Principal
			if _, err := fmt.Fprintf(w, "# %s: %s\n", r.Role, r.Principal); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "%s # %s\n", r.command(tool), r.Why); err != nil {
			return err
		}
	}
	return nil
}
