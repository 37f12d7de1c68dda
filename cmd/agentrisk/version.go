package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/scoring"
)

// commit is set by the build: -ldflags "-X main.commit=...".
var commit = "unknown"

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the commit, the engine's version and the Go version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "agentrisk %s engine %s %s %s/%s\n", commit, scoring.EngineVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
