package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// output remembers the first write that failed.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// Unwrapped is the writer that Run was given, for a program that is to write to the very same file.
func Unwrapped(w io.Writer) io.Writer {
	if o, ok := w.(*output); ok {
		return o.w
	}
	return w
}

// Printf prints without looking at the error: of standard output Run looks at it, of standard error there is nobody left to tell.
func Printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// choice is a flag that takes one of a few words.
type choice struct {
	value *string
	words []string
}

func (c choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func (c choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("is one of %s", strings.Join(c.words, ", "))
	}
	*c.value = s
	return nil
}

func (c choice) Type() string { return strings.Join(c.words, "|") }

// Format gives a command the flag -o with these formats, the first being the default.
func Format(cmd *cobra.Command, formats ...string) *string {
	value := formats[0]
	cmd.Flags().VarP(choice{&value, formats}, "output", "o", "how to print")
	if err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added one line above
	}
	return &value
}

// JSON prints v indented: messages as protojson has them, with fields that are zero and with 64-bit integers as numbers, everything
// else as encoding/json does.
func JSON(w io.Writer, v any) error {
	data, err := marshal(v)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, data, "", "  "); err != nil {
		return fmt.Errorf("indenting JSON: %w", err)
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}

func marshal(v any) ([]byte, error) {
	if m, ok := v.(proto.Message); ok {
		data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("writing JSON: %w", err)
		}
		return numbers(data, m.ProtoReflect().Descriptor())
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// Table prints rows in columns. The first row is the head.
func Table(w io.Writer, rows [][]string) error {
	var out bytes.Buffer
	tw := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = clean(cmp.Or(cell, "-"), false)
		}
		Printf(tw, "%s\n", strings.Join(cells, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := w.Write(out.Bytes())
	return err
}

// Rows prints rows as they come, in columns that grow with what comes. It is for one goroutine.
type Rows struct {
	w      io.Writer
	widths []int
}

// NewRows prints the head.
func NewRows(w io.Writer, head ...string) (*Rows, error) {
	r := &Rows{w: w, widths: make([]int, len(head))}
	return r, r.Print(head...)
}

// Print prints a row.
func (r *Rows) Print(row ...string) error {
	var out strings.Builder
	for i, cell := range row {
		cell = clean(cmp.Or(cell, "-"), false)
		if i == len(row)-1 || i >= len(r.widths) {
			out.WriteString(cell)
			continue
		}
		n := utf8.RuneCountInString(cell)
		r.widths[i] = max(r.widths[i], n)
		out.WriteString(cell + strings.Repeat(" ", r.widths[i]-n+2))
	}
	out.WriteByte('\n')
	_, err := io.WriteString(r.w, out.String())
	return err
}

// Facts prints name and value, a line each; what has no value is left out.
func Facts(w io.Writer, pairs ...[2]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range pairs {
		if p[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(tw, "%s:\t%s\n", p[0], clean(p[1], false)); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// Terminal says whether r or w is one, with somebody in front of it.
func Terminal(rw any) bool {
	f, ok := rw.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// errNotConfirmed ends a command whose question was not answered with yes.
var errNotConfirmed = errors.New("not confirmed; nothing was changed")

// Confirm asks on a terminal. Elsewhere nobody can answer: it is an error that names the flag --yes.
func Confirm(cmd *cobra.Command, question string) error {
	if !Terminal(cmd.InOrStdin()) {
		return Malformedf("add --yes when you mean it", "%s asks before it acts, and standard input is not a terminal", cmd.CommandPath())
	}
	if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "%s Type yes to go on: ", question); err != nil {
		return err
	}
	answer, err := readLine(cmd.InOrStdin())
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if strings.TrimSpace(answer) != "yes" {
		return errNotConfirmed
	}
	return nil
}

// readLine reads one line and nothing after it.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := r.Read(b)
		if n == 1 && b[0] != '\n' && len(line) < 1024 {
			line = append(line, b[0])
		}
		if n == 1 && b[0] == '\n' || errors.Is(err, io.EOF) {
			return string(line), nil
		}
		if err != nil {
			return "", err
		}
	}
}
