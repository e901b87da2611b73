package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// ids and changeable are the flags of what a key file does not say.
const (
	ids        = " app-id client-id key-id team-id"
	changeable = " environment roles services topics"
)

// commands are those of the plan, each with the flags that it must have beside --help and --config.
var commands = map[string]string{
	"signet mint":                  "account allow-introductory-offer developer-id file-name fresh offer output product receipt request scope snapshot transaction ttl",
	"signet profile list":          "output",
	"signet profile show":          "output",
	"signet key recipient":         "out",
	"signet key seal":              "from-env issuer-id kind name out to" + ids + changeable,
	"signet key import":            "allow-duplicate dir dry-run from-env issuer-id kind output prefix skip-bad" + ids + changeable,
	"signet key generate":          "kind out output" + ids,
	"signet key public":            "out output version",
	"signet key update":            "output reason version" + ids + changeable,
	"signet key list":              "output",
	"signet key show":              "output",
	"signet key activate":          "output",
	"signet key disable":           "output reason yes",
	"signet key enable":            "output reason",
	"signet key revoke":            "output reason version yes",
	"signet policy apply":          "dry-run etag output",
	"signet policy show":           "output revision",
	"signet policy lint":           "output",
	"signet policy test":           "output",
	"signet audit list":            "action key limit log outcome output principal profile since token until",
	"signet audit show":            "log output",
	"signet audit verify":          "archive archived checkpoint dir key output",
	"signet audit checkpoint":      "log output",
	"signet system status":         "address output",
	"signet system members":        "output",
	"signet system acknowledge":    "output reason yes",
	"signet system forget":         "reason yes",
	"signet system rewrap":         "dry-run output",
	"signet version":               "",
	"signet exec":                  "kill-after scope stop-on-denied ttl",
	"signet doctor":                "output",
	"signet completion bash":       "no-descriptions",
	"signet completion zsh":        "no-descriptions",
	"signet completion fish":       "no-descriptions",
	"signet completion powershell": "no-descriptions",
	"signet audit watch":           "action from key outcome output principal profile since token",
	"signet audit trace":           "file output",
	"signet audit report":          "output since unused-for until",
}

func TestEveryCommandHasHelp(t *testing.T) {
	seen := 0
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.HasSubCommands() {
			return
		}
		seen++
		want, ok := commands[c.CommandPath()]
		if !ok {
			t.Errorf("%s is not planned", c.CommandPath())
		}
		var flags []string
		for name := range strings.FieldsSeq(want) {
			flags = append(flags, name)
			if c.Flags().Lookup(name) == nil {
				t.Errorf("%s has no --%s", c.CommandPath(), name)
			}
		}
		n := 0
		c.LocalNonPersistentFlags().VisitAll(func(*pflag.Flag) { n++ })
		if n != len(flags) {
			t.Errorf("%s has %d flags, planned are %s", c.CommandPath(), n, want)
		}
		if c.Short == "" || !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s lacks a summary or an example of itself", c.CommandPath())
		}
	}
	walk(newRoot(cli.Env{}))
	if seen != len(commands) {
		t.Errorf("%d commands, %d planned", seen, len(commands))
	}
}
