package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/contract"
)

// changedCase is a case whose history has grown beyond what was seen of it.
type changedCase struct {
	id string
	// seen is the number of the last entry that was seen; 0 is none.
	seen int
}

// caseFeed tells which cases changed, again and again until it hears up to which entry a case was told.
type caseFeed interface {
	next(ctx context.Context) ([]changedCase, error)
	told(id string, n int)
}

// polledFeed compares versions of the newest cases of a list. What happens to a case that is not among them is not told.
type polledFeed struct {
	s     *service
	query url.Values
	limit int
	// since is from when on entries count at the first time; zero is from then on.
	since time.Time
	// seen are the versions by id; nil before the first time.
	seen map[string]int
}

func (f *polledFeed) next(ctx context.Context) (out []changedCase, err error) {
	query := url.Values{}
	for k, v := range f.query {
		query[k] = v
	}
	list, err := listCases(ctx, f.s, query, f.limit)
	if err != nil {
		return nil, err
	}
	first := f.seen == nil
	if first {
		f.seen = map[string]int{}
	}
	for i := len(list) - 1; i >= 0; i-- { // oldest first
		var c Case
		if err := json.Unmarshal(list[i], &c); err != nil {
			return nil, err
		}
		switch seen := f.seen[c.ID]; {
		case first && (f.since.IsZero() || finished[c.State] && c.UpdatedAt.Before(f.since)): // of an open one more may have happened than its row says
			f.seen[c.ID] = c.Version
		case c.Version > seen:
			out = append(out, changedCase{c.ID, seen})
		}
	}
	return out, nil
}

// finished are the states of cases to which no more happens by itself.
var finished = map[string]bool{"NotFiled": true, "Closed": true, "Rated": true, "Void": true}

func (f *polledFeed) told(id string, n int) { f.seen[id] = n }

type caseWatch struct {
	gridFlags
	caseQuery
	caseOutput
	every time.Duration
	since string
}

func (a *app) caseWatchCommand() *cobra.Command {
	var f caseWatch
	cmd := &cobra.Command{
		Use: "watch", Short: "Print what happens to cases, as it happens, until it is stopped", Args: noArgs,
		Long: `Print each new entry of the histories of the newest --limit cases that fit, looking every --every. With -o json each line is an object with
the case and the entry. It ends with Ctrl-C, or when the service refuses the person.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.watchCases(cmd.Context(), &f) },
	}
	f.gridFlags.add(cmd)
	f.caseQuery.add(cmd)
	f.caseOutput.add(cmd)
	cmd.Flags().Lookup("output").Usage = "json: a line for each entry"
	cmd.Flags().DurationVar(&f.every, "every", 5*time.Second, "how often to look, 1s at least")
	cmd.Flags().StringVar(&f.since, "since", "", "begin with what happened since a time (RFC 3339), or so long ago, as 2h; default: from now on")
	return cmd
}

// sinceTime reads a time, or how long ago it was.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, usage("--since %q: write a time such as 2026-06-01T18:00:00+08:00, or how long ago, such as 2h", text)
	}
	return at, nil
}

func (a *app) watchCases(ctx context.Context, f *caseWatch) error {
	w, err := a.caseWords(&f.caseOutput)
	if err != nil {
		return err
	}
	if f.format == "yaml" || f.every < time.Second {
		return usage("cases watch: -o takes json, --every at least 1s")
	}
	since, err := sinceTime(f.since, a.now())
	if err != nil {
		return err
	}
	s, err := a.grid(ctx, &f.gridFlags)
	if err != nil {
		return err
	}
	signed := a.now()
	feed := &polledFeed{s: s, query: f.values(), limit: f.limit, since: since}
	for {
		if a.now().Sub(signed) > f.life/2 { // a token lives 15 minutes at most
			if err := a.grant(ctx, &f.gridFlags, s); err != nil {
				return err
			}
			signed = a.now()
		}
		if err := a.tellChanges(ctx, s, feed, since, f.format, w); err != nil {
			var no *Refusal
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.As(err, &no) && no.Status < http.StatusInternalServerError && no.Status != http.StatusTooManyRequests:
				return denied(err)
			}
			fmt.Fprintln(a.Err, "# "+err.Error())
		}
		if a.wait(ctx, f.every) != nil {
			return nil // stopped
		}
	}
}

// grant puts a person's token that is new into what is sent.
func (a *app) grant(ctx context.Context, f *gridFlags, s *service) error {
	token, err := a.personToken(ctx, f, contract.RoleGrid)
	if err != nil {
		return err
	}
	s.header.Set("Authorization", "Bearer "+token)
	return nil
}

// tellChanges prints the entries that are new.
func (a *app) tellChanges(ctx context.Context, s *service, feed caseFeed, since time.Time, format string, w words) error {
	changed, err := feed.next(ctx)
	if err != nil {
		return err
	}
	for _, x := range changed {
		var c Case
		err := s.call(ctx, http.MethodGet, "/v1/cases/"+x.id, nil, nil, &c)
		var no *Refusal
		if errors.As(err, &no) && no.Status == http.StatusNotFound {
			continue // this person sees it no more
		}
		if err != nil {
			return err
		}
		for _, h := range c.History {
			if h.N <= x.seen || h.At.Before(since) {
				continue
			}
			if err := a.tellEntry(c, h, format, w); err != nil {
				return err
			}
		}
		feed.told(x.id, c.Version)
	}
	return nil
}

func (a *app) tellEntry(c Case, h CaseStep, format string, w words) error {
	if format == "json" {
		c.History, c.Parties, c.Times = nil, nil, nil
		e := json.NewEncoder(a.Out)
		e.SetEscapeHTML(false)
		return e.Encode(struct {
			Case  Case     `json:"case"`
			Entry CaseStep `json:"entry"`
		}{c, h})
	}
	row := historyRows(w, []CaseStep{h})[0]
	columns, _ := terminal(a.Out)
	lines(a.Out, columns, fmt.Sprintf("%s  %s  %s  %s  %s  %s", clock(h.At), c.Number, row[1], row[2], row[3], c.Title))
	return nil
}
