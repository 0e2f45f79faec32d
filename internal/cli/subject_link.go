package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
)

// This file tells the vault for whose record a key of a provider's own database is. What it reads is personal: no error repeats a cell of the
// file, it names the line.

// keyLink is a link as the vault takes it, and the line of the file on which it begins.
type keyLink struct {
	Key     string      `json:"key"`
	Person  *linkPerson `json:"person,omitempty"`
	Subject string      `json:"subject,omitempty"`
	line    int
}

// linkPerson is how a register knows a person.
type linkPerson struct {
	Source string `json:"source"`
	Key    string `json:"key"`
}

// linked says what was done. Nobody counts keys that the file gives to no person.
type linked struct {
	Dataset string `json:"dataset"`
	Keys    int    `json:"keys"`
	Nobody  int    `json:"nobody"`
	Calls   int    `json:"calls"`
}

// Names of columns of a file of links.
const (
	columnKey     = "key"
	columnPerson  = "person"
	columnSource  = "source"
	columnSubject = "subject"
)

func (a *app) subjectLinkCommand() *cobra.Command {
	var f vaultFlags
	var dataset, source, format string
	cmd := &cobra.Command{
		Use: "link FILE --dataset D --server URL", Short: "Say whose record each key of an own database is (主体关联)", Args: cobra.ExactArgs(1),
		Long: `For the provider of a dataset in a PostgreSQL of its own: tell the vault which person stands behind each value of the dataset's subjectColumn, so that
consents and the question who read my record reach those rows. A DataSteward of the provider does it. FILE is CSV in UTF-8 with a header line; - reads
the input. Columns:

  key       what stands in the subjectColumn, as text; each once
  person    how a register knows the person, such as a resident id
  source    which register that is; or --source for the whole file
  subject   in place of person and source: the person's random id

A key with neither person nor subject stands for nobody from now on. The last word on a key holds, so that the same file again changes nothing; it
links those who have registered since. Whom the vault knows, it does not say.`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"csv"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			links, err := a.linksOf(args[0], source)
			if err != nil {
				return err
			}
			done, err := a.sendLinks(cmd.Context(), &f, dataset, links)
			if err != nil {
				return denied(err)
			}
			return a.printLinked(format, done)
		},
	}
	f.addVault(cmd)
	cmd.Flags().StringVar(&dataset, "dataset", "", "Dataset of the own organisation, in a PostgreSQL of its own")
	cmd.Flags().StringVar(&source, "source", "", "register that knows the persons of a file without a column source, such as resident-id")
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	_ = cmd.MarkFlagRequired("dataset")
	for name, words := range map[string][]string{"dataset": nil, "source": {"resident-id"}, "output": {"json", "yaml"}} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

func (a *app) printLinked(format string, done linked) error {
	if printed, err := printAs(a.Out, format, done); printed {
		return err
	}
	_, err := fmt.Fprintf(a.Out, "%s: %d keys said in %d calls, %d of them for nobody\n", done.Dataset, done.Keys, done.Calls, done.Nobody)
	fmt.Fprintln(a.Err, "# whom the vault does not know yet is not linked: once more have registered, run this again with the same file")
	return err
}

// linksOf reads a file of links, or the input for -.
func (a *app) linksOf(file, source string) ([]keyLink, error) {
	in, name := a.In, "the input"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in, name = f, file
	}
	links, problems := readLinks(in, source)
	if len(problems) == 0 && len(links) == 0 {
		problems = []string{"no line but the header: write a line for each key"}
	}
	if len(problems) == 0 {
		return links, nil
	}
	const most = 20
	if n := len(problems); n > most {
		problems = append(problems[:most], fmt.Sprintf("and %d more", n-most))
	}
	return nil, fmt.Errorf("%s: nothing was sent:\n  %s", name, strings.Join(problems, "\n  "))
}

// readLinks reads all links, and gives what is wrong with them by line. source stands for a column source that is not there.
func readLinks(in io.Reader, source string) (links []keyLink, problems []string) {
	buffered := bufio.NewReader(in)
	if mark, _ := buffered.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(3)
	}
	r := csv.NewReader(buffered)
	header, err := r.Read()
	if err != nil {
		return nil, []string{"no header line: write one, such as key,person,source"}
	}
	columns, wrong := linkColumns(header, source)
	if wrong != "" {
		return nil, []string{"line 1: " + wrong}
	}
	first := map[string]int{}
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return links, problems
		}
		if err != nil {
			return nil, append(problems, csvProblem(err))
		}
		line, _ := r.FieldPos(0)
		l, wrong := oneLink(columns, cells, source)
		if before, twice := first[l.Key]; twice && wrong == "" {
			wrong = fmt.Sprintf("the same key as on line %d: keep the line that is right", before)
		} else if !twice {
			first[l.Key] = line
		}
		if wrong != "" {
			problems = append(problems, fmt.Sprintf("line %d: %s", line, wrong))
			continue
		}
		l.line = line
		links = append(links, l)
	}
}

// csvProblem says what is wrong with a line that is no CSV; the package csv repeats no cell.
func csvProblem(err error) string {
	var p *csv.ParseError
	switch {
	case !errors.As(err, &p):
		return err.Error()
	case errors.Is(err, csv.ErrFieldCount):
		return fmt.Sprintf("line %d: not as many cells as the header has: write each, empty ones too", p.StartLine)
	}
	return fmt.Sprintf("line %d: %v: write a cell with quotes as \"a \"\"b\"\" c\"", p.StartLine, p.Err)
}

// linkColumns finds the columns, and gives what is wrong with them.
func linkColumns(header []string, source string) (columns map[string]int, wrong string) {
	columns = map[string]int{}
	for i, name := range header {
		name = strings.TrimSpace(name)
		_, twice := columns[name]
		if twice || !slices.Contains([]string{columnKey, columnPerson, columnSource, columnSubject}, name) {
			return nil, fmt.Sprintf("column %d has none of the names key, person, source and subject, or one again: write a header such as key,person,source", i+1)
		}
		columns[name] = i
	}
	has := func(name string) bool { _, ok := columns[name]; return ok }
	switch {
	case !has(columnKey):
		return nil, "no column key: write a header such as key,person,source"
	case !has(columnPerson) && !has(columnSubject):
		return nil, "neither a column person nor a column subject: write a header such as key,person,source"
	case has(columnSource) && source != "":
		return nil, "a column source, and --source: give one of them"
	case has(columnPerson) && !has(columnSource) && source == "":
		return nil, "a column person and no column source: add it, or --source for the whole file, such as --source resident-id"
	}
	return columns, ""
}

// The forms that the vault takes (internal/node/vault: Identity, Link).
var (
	linkSource  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
	linkSubject = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// oneLink reads a line, and gives what is wrong with it.
func oneLink(columns map[string]int, cells []string, source string) (l keyLink, wrong string) {
	cell := func(name string) string {
		if i, ok := columns[name]; ok {
			return cells[i]
		}
		return ""
	}
	l.Key, l.Subject = cell(columnKey), cell(columnSubject)
	person, from := cell(columnPerson), cell(columnSource)
	if person != "" {
		from = either(from, source)
		l.Person = &linkPerson{from, person}
	}
	switch {
	case !utf8.ValidString(strings.Join(cells, "")):
		return l, "not UTF-8: save the file as UTF-8"
	case l.Key == "":
		return l, "no key: write what stands in the dataset's subjectColumn"
	case utf8.RuneCountInString(l.Key) > contract.MaxIdentityKey, utf8.RuneCountInString(person) > contract.MaxIdentityKey:
		return l, fmt.Sprintf("key or person is longer than the vault takes: write at most %d characters", contract.MaxIdentityKey)
	case person != "" && l.Subject != "":
		return l, "person and subject: write one of them"
	case person != "" && from == "":
		return l, "a person without source: write the register that knows the person, such as resident-id"
	case person == "" && from != "":
		return l, "a source without person: write the person, or neither for a key that stands for nobody"
	case from != "" && !linkSource.MatchString(from):
		return l, "source is no name of a register: write one such as resident-id"
	case l.Subject != "" && !linkSubject.MatchString(l.Subject):
		return l, "subject is no id of the vault: write what `dizuo subject register` printed"
	}
	return l, ""
}

// linkCalls cuts links into calls that the vault takes.
func linkCalls(links []keyLink) (calls [][]keyLink) {
	const room = contract.MaxVaultBodyBytes - 1024 // for what stands around the links
	size, from := 0, 0
	for i := range links {
		raw, _ := json.Marshal(links[i]) // strings alone
		if size+len(raw)+1 > room || i-from == contract.MaxLinks {
			calls, from, size = append(calls, links[from:i]), i, 0
		}
		size += len(raw) + 1
	}
	return append(calls, links[from:])
}

// sendLinks says all links to the vault, no faster than it takes them.
func (a *app) sendLinks(ctx context.Context, f *vaultFlags, dataset string, links []keyLink) (done linked, err error) {
	s, err := a.vault(ctx, f)
	if err != nil {
		return done, err
	}
	signed, pace := a.now(), rate.NewLimiter(contract.LinksPerSecond, contract.LinksAtOnce)
	progress := a.progress("keys")
	done.Dataset = dataset
	for _, call := range linkCalls(links) {
		if err := a.wait(ctx, pace.ReserveN(a.now(), len(call)).DelayFrom(a.now())); err != nil {
			return done, notLinked(err, done.Keys, links)
		}
		if a.now().Sub(signed) > f.life/2 { // a token lives for minutes, a long file takes hours
			token, err := a.personToken(ctx, &f.gridFlags, contract.RoleVault)
			if err != nil {
				return done, notLinked(err, done.Keys, links)
			}
			s.header.Set("Authorization", "Bearer "+token)
			signed = a.now()
		}
		if err := a.sendCall(ctx, s, dataset, call); err != nil {
			if progress != nil {
				fmt.Fprintln(a.Err)
			}
			return done, notLinked(placed(err, call), done.Keys, links)
		}
		done.Calls++
		done.Keys += len(call)
		if progress != nil {
			progress(int64(done.Keys), int64(len(links)))
		}
	}
	for _, l := range links {
		if l.Person == nil && l.Subject == "" {
			done.Nobody++
		}
	}
	return done, nil
}

// Times of a call that is put off: how often it is made at most, and the longest wait that is kept.
const (
	linkTries   = 8
	longestWait = 5 * time.Minute
)

// sendCall makes one call, and makes it again where the vault puts it off. To say a link twice is to say it once.
func (a *app) sendCall(ctx context.Context, s *service, dataset string, call []keyLink) error {
	backoff := time.Second
	for try := 1; ; try++ {
		err := s.call(ctx, http.MethodPost, "/v1/datasets/"+url.PathEscape(dataset)+"/keys", nil, map[string]any{"links": call}, nil)
		var r *Refusal
		if !errors.As(err, &r) || r.Status != http.StatusTooManyRequests && r.Status != http.StatusServiceUnavailable {
			return err
		}
		pause := max(r.RetryAfter, backoff)
		if try == linkTries || pause > longestWait {
			return err
		}
		if err := a.wait(ctx, pause); err != nil {
			return err
		}
		backoff *= 2
	}
}

// notLinked says how far it went.
func notLinked(err error, done int, links []keyLink) error {
	if done == 0 {
		return fmt.Errorf("no key was linked: %w", err)
	}
	return fmt.Errorf("the lines up to %d are linked, those from %d on may not be; put it right and run this again with the same file: %w", links[done-1].line, links[done].line, err)
}

// placed gives a refusal of a call by lines of the file.
func placed(err error, call []keyLink) error {
	var r *Refusal
	if !errors.As(err, &r) || r.Status != http.StatusUnprocessableEntity {
		return err
	}
	where := fmt.Sprintf("lines %d to %d", call[0].line, call[len(call)-1].line)
	for i, e := range r.Errors {
		rest, ok := strings.CutPrefix(e.Location, "body.links[")
		number, field, _ := strings.Cut(rest, "]")
		if n, err := strconv.Atoi(number); ok && err == nil && n >= 0 && n < len(call) {
			r.Errors[i].Location, where = fmt.Sprintf("line %d%s", call[n].line, strings.Replace(field, ".", " ", 1)), ""
		}
	}
	if where == "" {
		return r
	}
	return fmt.Errorf("%s: %w", where, r)
}
