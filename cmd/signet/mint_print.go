package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server/apple"
)

// mintFormats are what -o of signet mint knows, and mintFits those of them that a token of each form can be printed in.
var (
	mintFormats = []string{"token", "header", "form", "app", "env", "json"}
	mintFits    = map[client.Form][]string{
		client.FormHeader:    {"token", "header", "env", "json"},
		client.FormSecret:    {"token", "form", "env", "json"},
		client.FormHanded:    {"token", "app", "env", "json"},
		client.FormSignature: {"token", "app", "env", "json"},
		client.FormURL:       {"token", "env", "json"},
	}
	goesTo = map[client.Form]string{
		client.FormHeader:    "goes into the header Authorization",
		client.FormSecret:    "goes into a form that is posted",
		client.FormHanded:    "is handed on to who uses it",
		client.FormSignature: "is handed to the app, with what was signed",
		client.FormURL:       "is a URL",
	}
)

// mintedJSON is what -o json prints. Times that a token does not have are left out, and so is what its form does not have. The receipt's
// texts are as they came: proof is a c2sp.org/tlog-proof, entry the stored line, as a string and not as JSON in JSON, for its leaf hash
// is that of its bytes.
type mintedJSON struct {
	Token      string            `json:"token"` // the signature or the URL, where that is what was minted
	Form       client.Form       `json:"form"`
	Scheme     *string           `json:"scheme,omitempty"` // what stands before the token in the header; empty for nothing
	Hosts      []string          `json:"hosts,omitempty"`
	Field      string            `json:"field,omitempty"`  // of the form that is posted, which holds the token
	Fields     map[string]string `json:"fields,omitempty"` // the others of that form
	URL        string            `json:"url,omitempty"`    // to which it is posted
	Nonce      string            `json:"nonce,omitempty"`
	Timestamp  int64             `json:"timestamp,omitempty"` // Unix milliseconds
	KeyID      string            `json:"keyId"`
	IssueTime  time.Time         `json:"issueTime"`
	ExpireTime time.Time         `json:"expireTime,omitzero"`
	UseUntil   time.Time         `json:"useUntil,omitzero"`
	Refresh    time.Time         `json:"refreshTime,omitzero"`
	Reused     bool              `json:"reused"`
	Shared     bool              `json:"shared"`
	Scope      []string          `json:"scope"`
	SHA256     string            `json:"sha256"`
	Receipt    *receiptJSON      `json:"receipt,omitempty"`
}

type receiptJSON struct {
	Origin   string `json:"origin"`
	Index    int64  `json:"index"`
	LeafHash string `json:"leafHash"`
	Proof    string `json:"proof"`
	Entry    string `json:"entry"`
}

// minted is a token as JSON, without its receipt.
func minted(t *client.Token) mintedJSON {
	out := mintedJSON{
		Token: t.Text(), Form: t.Form, Hosts: t.Hosts, Field: t.SecretField, URL: t.PostURL, Nonce: t.Nonce, Timestamp: t.Timestamp,
		KeyID: t.KeyID, IssueTime: t.Issued, ExpireTime: t.Expires, UseUntil: t.UseUntil, Refresh: t.Refresh,
		Reused: t.Reused, Shared: t.Shared, Scope: append([]string{}, t.Scope...), SHA256: t.SHA256,
	}
	if t.Form == client.FormHeader {
		out.Scheme = &t.Scheme
	}
	for name, values := range t.PostForm() {
		if name == t.SecretField {
			continue
		}
		if out.Fields == nil {
			out.Fields = make(map[string]string)
		}
		out.Fields[name] = values[0]
	}
	return out
}

// tokenText is what the user of a token's family needs: the signature of an offer is of no use without what was signed.
func tokenText(t *client.Token) string {
	if t.Form == client.FormSignature {
		return string(t.AppJSON())
	}
	return t.Text()
}

// formatFits says of a format that not every form of token can be printed in, before anything is minted, whether it fits the profile's.
// Of a profile that is not among the caller's, and of a server that does not answer, the mint says what is wrong.
func formatFits(ctx context.Context, cl *client.Client, profile, format string) error {
	if slices.Contains(mintFits[client.FormURL], format) { // which fit all
		return nil
	}
	for p, err := range cl.AllProfiles(ctx) {
		if err != nil {
			return nil
		}
		if p.GetName() != profile {
			continue
		}
		form := client.Form(p.GetForm())
		if apple.Form(p.GetForm()) == apple.FormUpload {
			form = client.FormHanded
		}
		if fits, known := mintFits[form]; known && !slices.Contains(fits, format) {
			return unfitting(form, format, "nothing was minted; ask with")
		}
		return nil
	}
	return nil
}

// unfitting is that a format does not fit what a profile mints.
func unfitting(form client.Form, format, todo string) error {
	return cli.Malformedf(todo+" -o "+strings.Join(mintFits[form], ", -o "), "-o %s does not fit what this profile mints, which %s", format, goesTo[form])
}

// printToken prints a token in a format that fits its form. Of one that does not nothing is printed.
func (a *app) printToken(t *client.Token, format string) error {
	if fits := mintFits[t.Form]; !slices.Contains(fits, format) {
		return unfitting(t.Form, format, "one was minted, which is on record, and it is not printed; ask again with")
	}
	line := tokenText(t)
	switch format {
	case "header":
		line = t.Header()
	case "form":
		line = t.PostForm().Encode()
	case "app":
		line = string(t.AppJSON())
	case "env":
		line = "export " + envToken + "=" + cli.Quoted(line)
	case "json":
		return a.printMinted(t)
	}
	if _, err := fmt.Fprintln(a.Stdout, line); err != nil {
		return err
	}
	a.sayReceipt(t)
	return nil
}

func (a *app) printMinted(t *client.Token) error {
	out := minted(t)
	if r := t.Receipt; r != nil {
		out.Receipt = &receiptJSON{
			Origin: r.GetOrigin(), Index: r.GetIndex(), LeafHash: base64.StdEncoding.EncodeToString(r.GetLeafHash()),
			Proof: string(r.GetProof()), Entry: string(r.GetEntry()),
		}
	}
	if err := cli.JSON(a.Stdout, out); err != nil {
		return err
	}
	a.sayReceipt(t)
	return nil
}

func (a *app) sayReceipt(t *client.Token) {
	if r := t.Receipt; r != nil {
		cli.Printf(a.Stderr, "receipt verified: entry %d of %s\n", r.GetIndex(), r.GetOrigin())
	}
}
