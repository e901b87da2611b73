package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/policy"
)

// completionTime is how long somebody who presses Tab waits for a server.
const completionTime = 2 * time.Second

// completion makes the command that prints shells' scripts, and has the server name what only it knows.
func (a *app) completion(root *cobra.Command) {
	root.SetOut(a.Stdout) // the commands below keep it
	root.InitDefaultCompletionCmd()
	loaded := map[string]string{
		"bash": `source <(%[1]s)`, "zsh": `source <(%[1]s)`, "fish": `%[1]s | source`, "powershell": `%[1]s | Out-String | Invoke-Expression`,
	}
	for shell, load := range loaded {
		command(root, "completion", shell).Example = fmt.Sprintf("  "+load, "signet completion "+shell)
	}
	if err := root.MarkPersistentFlagFilename("config", "yaml", "yml"); err != nil {
		panic(err) // the flag is there
	}
	for _, name := range []string{"show", "public", "update", "activate", "disable", "enable", "revoke"} {
		command(root, "key", name).ValidArgsFunction = a.completeFirst(keyNames)
	}
	profiles := a.completeFirst(profileNames)
	command(root, "mint").ValidArgsFunction = profiles
	a.completeFilled(command(root, "mint"))
	command(root, "profile", "show").ValidArgsFunction = profiles
	for _, name := range []string{"list", "watch"} {
		a.completeFilter(command(root, "audit", name))
	}
	command(root, "exec").ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault // a program and its arguments
		}
		return profiles(c, args, begun)
	}
}

// command is a command of the tree, by its path.
func command(root *cobra.Command, path ...string) *cobra.Command {
	c, rest, err := root.Find(path)
	if err != nil || len(rest) > 0 {
		panic("no command " + strings.Join(path, " "))
	}
	return c
}

// completeFirst completes a command's first argument with what a server answers. Without a server there is nothing to offer.
func (a *app) completeFirst(names func(context.Context, *client.Client) ([]string, error)) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completionTime)
		defer cancel()
		var found []string
		err := a.dial(ctx, func(ctx context.Context, cl *client.Client) (err error) {
			found, err = names(ctx, cl)
			return err
		})
		if err != nil {
			cobra.CompDebugln(err.Error(), false)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFilter completes the flags by which entries are chosen.
func (a *app) completeFilter(c *cobra.Command) {
	var outcomes, actions []string
	for _, o := range auditlog.Outcomes() {
		outcomes = append(outcomes, string(o))
	}
	for _, action := range policy.Actions() {
		actions = append(actions, string(action))
	}
	keys := a.completeFirst(keyNames)
	profiles := a.completeFirst(profileNames)
	for flag, f := range map[string]cobra.CompletionFunc{
		"outcome": cobra.FixedCompletions(outcomes, cobra.ShellCompDirectiveNoFileComp),
		"action":  cobra.FixedCompletions(actions, cobra.ShellCompDirectiveNoFileComp),
		"key": func(c *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return keys(c, nil, begun)
		},
		"profile": func(c *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return profiles(c, nil, begun)
		},
	} {
		if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
			panic(err) // the flags are there
		}
	}
}

// completeFilled completes the flags that fill in a value with those that the profile allows.
func (a *app) completeFilled(c *cobra.Command) {
	for _, name := range []string{"product", "offer", "developer-id"} {
		complete := func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeFirst(func(ctx context.Context, cl *client.Client) ([]string, error) {
				return allowedValues(ctx, cl, args[0], name)
			})(c, nil, begun)
		}
		if err := c.RegisterFlagCompletionFunc(name, complete); err != nil {
			panic(err) // the flags are there
		}
	}
}

// allowedValues are those that a profile lists for a flag.
func allowedValues(ctx context.Context, cl *client.Client, profile, flag string) ([]string, error) {
	for p, err := range cl.AllProfiles(ctx) {
		if err != nil {
			return nil, err
		}
		if p.GetName() != profile {
			continue
		}
		for _, f := range p.GetParameters() {
			if of, ok := flagOfField(f.GetName()); ok && of.name == flag {
				return f.GetValues(), nil
			}
		}
	}
	return nil, nil
}

// keyNames are the keys that the caller may read, with what they are.
func keyNames(ctx context.Context, cl *client.Client) ([]string, error) {
	resp, err := cl.ListKeys(ctx, &signetv1.ListKeysRequest{PageSize: 1000})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, k := range resp.GetKeys() {
		names = append(names, cobra.CompletionWithDesc(k.GetName(), k.GetKind()))
	}
	return names, nil
}

// profileNames are the profiles that the caller may mint, with their families.
func profileNames(ctx context.Context, cl *client.Client) ([]string, error) {
	resp, err := cl.ListProfiles(ctx, &signetv1.ListProfilesRequest{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range resp.GetProfiles() {
		names = append(names, cobra.CompletionWithDesc(p.GetName(), p.GetFamily()))
	}
	return names, nil
}
