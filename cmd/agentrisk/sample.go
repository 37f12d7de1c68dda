package main

import (
	_ "embed"

	"github.com/spf13/cobra"
)

// sampleConfig is the commented configuration; `make docs` makes it from Config and the comments beside its fields.
//
//go:embed sample.yaml
var sampleConfig []byte

func configSample() *cobra.Command {
	return &cobra.Command{
		Use:     "sample",
		Short:   "Print a commented configuration with every setting and its default",
		Example: "  agentrisk config sample > agentrisk.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(sampleConfig)
			return err
		},
	}
}
