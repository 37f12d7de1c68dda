package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

// commit is set by the build: -ldflags "-X main.commit=...". Without it the one that Go notes in a checkout serves.
var commit = "unknown"

// version is what a program says of itself.
type version struct {
	Commit string `json:"commit"`
	Engine string `json:"engine"` // what rows say that judged them
	Go     string `json:"go"`
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Pack   struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Digest  string `json:"digest"`
	} `json:"pack"` // the built-in one
}

func versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the commit, the engine's version, the Go version and the built-in pack",
		Long: `The engine's version and the pack's digest stand on every row: together with the log they give the same verdicts
again. The pack is the built-in one; a process judges by the one that is active in its database.`,
		Example: `  agentrisk version
  agentrisk version --output json | jq -r .pack.digest`,
		Args: cobra.NoArgs,
	}
	asJSON := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		pack, err := rules.Builtin()
		if err != nil {
			return err
		}
		v := version{Commit: builtFrom(), Engine: scoring.EngineVersion, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
		v.Pack.Name, v.Pack.Version, v.Pack.Digest = pack.Name, pack.Version, pack.Digest
		if asJSON() {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "agentrisk %s engine %s %s %s/%s\npack %s %s %s\n", v.Commit, v.Engine, v.Go, v.OS, v.Arch, v.Pack.Name, v.Pack.Version, v.Pack.Digest)
		return err
	}
	return cmd
}

// builtFrom is the commit that the program was built from.
func builtFrom() string {
	info, ok := debug.ReadBuildInfo()
	if commit != "unknown" || !ok {
		return commit
	}
	found, changed := commit, ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			found = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "-dirty"
		}
	}
	return found + changed
}
