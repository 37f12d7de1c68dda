package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/scoring"
)

// Completion of what a shell cannot know. An error completes nothing: a prompt is no place for it.

const noFiles = cobra.ShellCompDirectiveNoFileComp

// completeTopics completes the flag with the topics of the configuration that the flags name, and with those of the
// cluster that its bindings match, if it answers within a second.
func completeTopics(cmd *cobra.Command, flag string, config *string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		p, err := wire(*config)
		if err != nil {
			return nil, noFiles
		}
		defer p.close()
		var list []string
		for i := range p.config.Bindings {
			b := &p.config.Bindings[i]
			if !containsStar(b.Topics) {
				list = append(list, b.Topics)
			}
			for _, provider := range p.config.Providers {
				if t := b.TopicOf(provider); t != "" {
					list = append(list, t)
				}
			}
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
		defer cancel()
		if found, err := p.topics(ctx); err == nil {
			list = append(list, found...)
		}
		slices.Sort(list)
		return slices.Compact(list), noFiles
	})
}

// completeRules completes the ids of the built-in pack's rules, with their titles, as the first argument.
func completeRules(_ *cobra.Command, args []string, _ string) (list []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	pack, err := packArgument(nil)
	if err != nil {
		return nil, noFiles
	}
	for _, r := range pack.Rules {
		list = append(list, r.ID+"\t"+r.Title.EN)
	}
	return list, noFiles
}

// completeFields completes the last of a comma-separated list of fields.
func completeFields(_ *cobra.Command, _ []string, typed string) (list []string, _ cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	for _, f := range scoring.Fields {
		list = append(list, before+f.Name)
	}
	return list, noFiles | cobra.ShellCompDirectiveNoSpace
}
