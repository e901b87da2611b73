package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server/apple"
)

// callFlags are what the flags say that a call fills in.
type callFlags struct {
	product, offer, transaction, account string
	allow                                bool
	request, snapshot, file, developer   string
}

// callFlag is a flag that fills a value in, which the server calls field.
type callFlag struct {
	name, field string
	stands      string // for its value, on a command line that somebody is shown
}

// callFlags in the order in which help and command lines have them.
var flagsOfCalls = []callFlag{
	{"product", "product_id", "PRODUCT"},
	{"offer", "offer_id", "OFFER"},
	{"transaction", "transaction_id", "TRANSACTION"},
	{"account", "account", "ACCOUNT"},
	{"allow-introductory-offer", "allow_introductory_offer", "true|false"},
	{"request", "request", "FILE"},
	{"snapshot", "query", "QUERY"},
	{"file-name", "file_name", "NAME"},
	{"developer-id", "developer_id", "DEVELOPER"},
}

// flagOfField is the flag that fills in what the server calls so, with what stands before it; false where there is none.
func flagOfField(field string) (callFlag, bool) {
	name := field[strings.LastIndexByte(field, '.')+1:]
	i := slices.IndexFunc(flagsOfCalls, func(f callFlag) bool { return f.field == name })
	if i < 0 {
		return callFlag{}, false
	}
	return flagsOfCalls[i], true
}

// callShape is a call by its flags.
type callShape struct {
	what       string
	needs, may []string
	call       func(a *app, f *callFlags) (client.Call, error)
}

// fits says whether these flags, and no others, can be meant for it.
func (s callShape) fits(given []string) bool {
	for _, name := range s.needs {
		if !slices.Contains(given, name) {
			return false
		}
	}
	return !slices.ContainsFunc(given, func(name string) bool { return !s.has(name) })
}

func (s callShape) has(name string) bool {
	return slices.Contains(s.needs, name) || slices.Contains(s.may, name)
}

// text names its flags.
func (s callShape) text() string {
	text := s.what + " is " + flagList(s.needs, "and")
	if len(s.may) > 0 {
		text += ", with " + flagList(s.may, "or") + " if wanted"
	}
	return text
}

func flagList(names []string, last string) string {
	text := ""
	for i, name := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			text += " " + last + " "
		default:
			text += ", "
		}
		text += "--" + name
	}
	return text
}

var callShapes = []callShape{
	{"a promotional offer", []string{"product", "offer"}, []string{"transaction", "account"}, func(_ *app, f *callFlags) (client.Call, error) {
		return client.PromotionalOffer{ProductID: f.product, OfferID: f.offer, TransactionID: f.transaction, Account: f.account}, nil
	}},
	{"an introductory offer", []string{"product", "transaction", "allow-introductory-offer"}, nil, func(_ *app, f *callFlags) (client.Call, error) {
		return client.IntroductoryOffer{ProductID: f.product, TransactionID: f.transaction, Allow: f.allow}, nil
	}},
	{"a request of the Advanced Commerce API", []string{"request"}, nil, func(a *app, f *callFlags) (client.Call, error) {
		if strings.HasPrefix(strings.TrimSpace(f.request), "{") {
			return nil, cli.Malformedf("put it into a file, or on standard input with --request -", "--request is the name of a file, and this is a request itself")
		}
		text, err := a.readInput(f.request, apple.MaxCommerceRequest)
		return client.AdvancedCommerce{Request: text}, err
	}},
	{"a map snapshot", []string{"snapshot"}, nil, func(_ *app, f *callFlags) (client.Call, error) { return client.MapsSnapshot{Query: f.snapshot}, nil }},
	{"an export of an iWork document", []string{"file-name"}, nil, func(_ *app, f *callFlags) (client.Call, error) { return client.IWorkExport{FileName: f.file}, nil }},
	{"a developer of a marketplace", []string{"developer-id"}, nil, func(_ *app, f *callFlags) (client.Call, error) {
		return client.Marketplace{DeveloperID: f.developer}, nil
	}},
}

// yesNo is a flag that is true or false and must be said with its value: left out it is neither.
type yesNo struct{ value *bool }

func (y yesNo) String() string { return "" }

func (y yesNo) Set(s string) error {
	if s != "true" && s != "false" {
		return errors.New("is true or false")
	}
	*y.value = s == "true"
	return nil
}

func (yesNo) Type() string { return "true|false" }

// fillFlags gives a command the flags that fill in what a profile's family lets a call fill in. What it answers makes the call of them;
// nil when there are none.
func (a *app) fillFlags(cmd *cobra.Command) func() (client.Call, error) {
	var f callFlags
	flags := cmd.Flags()
	flags.StringVar(&f.product, "product", "", "the product ID of an offer, as App Store Connect shows it")
	flags.StringVar(&f.offer, "offer", "", "the identifier of a promotional offer")
	flags.StringVar(&f.transaction, "transaction", "", "the ID of any transaction of the customer's, or of the app transaction")
	flags.StringVar(&f.account, "account", "", "the app account token or the name of the user; only of a promotional offer of the original style")
	flags.Var(yesNo{&f.allow}, "allow-introductory-offer", "whether the customer may have the introductory offer")
	flags.StringVar(&f.request, "request", "", "a file with a request of the Advanced Commerce API in JSON, - for standard input; it is signed byte for byte")
	flags.StringVar(&f.snapshot, "snapshot", "", `the query of a map snapshot, encoded, such as "center=37.33,-122.0&z=12"`)
	flags.StringVar(&f.file, "file-name", "", "the name that the PDF of an iWork document is to have")
	flags.StringVar(&f.developer, "developer-id", "", "the Developer ID of one whose apps a marketplace may take")
	for _, word := range []struct{ flag, values string }{{"allow-introductory-offer", "true false"}, {"snapshot", ""}, {"file-name", ""}, {"transaction", ""}, {"account", ""}} {
		if err := cmd.RegisterFlagCompletionFunc(word.flag, cobra.FixedCompletions(strings.Fields(word.values), cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flags are there
		}
	}
	return func() (client.Call, error) {
		var given []string
		flags.Visit(func(flag *pflag.Flag) {
			if slices.ContainsFunc(flagsOfCalls, func(c callFlag) bool { return c.name == flag.Name }) {
				given = append(given, flag.Name)
			}
		})
		return a.callOf(given, &f)
	}
}

// callOf is the call that the given flags can be meant for.
func (a *app) callOf(given []string, f *callFlags) (client.Call, error) {
	if len(given) == 0 {
		return nil, nil //nolint:nilnil // there is nothing to fill in, and nothing wrong
	}
	var near []string
	for _, s := range callShapes {
		if s.fits(given) {
			return s.call(a, f)
		}
		if slices.ContainsFunc(given, s.has) {
			near = append(near, s.text())
		}
	}
	return nil, cli.Malformedf("signet profile show has the very command line",
		"%s: nothing is minted with this alone: %s", flagList(given, "and"), strings.Join(near, "; "))
}
