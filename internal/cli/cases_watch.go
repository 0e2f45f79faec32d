package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// feedWait is how long the service may wait for a change; less than the time that a request may take.
	feedWait = 25 * time.Second
	// feedPause is the first pause after a failure; it doubles up to longestFeedPause.
	feedPause, longestFeedPause = time.Second, 30 * time.Second
)

// caseChange is a change of the feed, as far as it is shown.
type caseChange struct {
	N       int64     `json:"n"`
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`
	Version int       `json:"version"`
	Case    *Case     `json:"case"`
	Mode    *Mode     `json:"mode"`
	// entry of the case's history that the change is; nil if it is none.
	entry *CaseStep
	// whole is the change as the service says it; wholeEntry the entry.
	whole, wholeEntry json.RawMessage
}

type caseWatch struct {
	gridFlags
	caseQuery
	caseOutput
	since string
	after int64
}

func (a *app) caseWatchCommand() *cobra.Command {
	var f caseWatch
	cmd := &cobra.Command{
		Use: "watch", Short: "Print what happens to cases, as it happens, until it is stopped", Args: noArgs,
		Long: `Print each change of the cases that fit, as the feed of changes tells it: once and in order. Without filters it also tells when the mode (平战) is
switched. Where the service is away it goes on, when that is back, where it was. With -o json each line is an object with the number of the change, the
case as it is now, and the entry of its history. It ends with Ctrl-C, when the service refuses the person, or when changes were missed because they are
kept no more.`,
		Example: `  dizuo cases watch --community chengdong --since 1h
  dizuo cases watch -o json --after 4711`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.watchCases(cmd.Context(), &f) },
	}
	f.gridFlags.add(cmd)
	f.addFilters(cmd)
	f.caseOutput.add(cmd)
	cmd.Flags().Lookup("output").Usage = "json: a line for each change"
	cmd.Flags().StringVar(&f.since, "since", "", "begin with what happened since a time (RFC 3339), or so long ago, as 2h; default: from now on")
	cmd.Flags().Int64Var(&f.after, "after", -1, "begin after the change of this number (field n of -o json)")
	cmd.MarkFlagsMutuallyExclusive("since", "after")
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
	if f.format == "yaml" {
		return usage("cases watch: -o takes json")
	}
	since, err := sinceTime(f.since, a.now())
	if err != nil {
		return err
	}
	s, err := a.grid(ctx, &f.gridFlags)
	if err != nil {
		return err
	}
	reader := &feedReader{s: s, query: f.values(), after: f.after, since: since, tell: func(c caseChange) error { return a.tellChange(c, f.format, w) }}
	signed, failed := a.now(), 0
	for {
		if a.now().Sub(signed) > f.life/2 { // a token lives 15 minutes at most
			if err := a.grant(ctx, &f.gridFlags, s); err != nil {
				return err
			}
			signed = a.now()
		}
		err := reader.next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // stopped
		case err == nil:
			failed = 0
			continue
		case forGood(err):
			return reader.refused(err)
		}
		fmt.Fprintln(a.Err, "# "+err.Error())
		if a.wait(ctx, feedPauseAfter(failed, err)) != nil {
			return nil // stopped
		}
		failed++
	}
}

// forGood says of an error that asking again would not help.
func forGood(err error) bool {
	if errors.As(err, new(tellError)) {
		return true
	}
	var no *Refusal
	return errors.As(err, &no) && no.Status < http.StatusInternalServerError && no.Status != http.StatusTooManyRequests
}

// feedPauseAfter gives the pause after so many failures before this one: as the service asks for it, or twice that of before.
func feedPauseAfter(failed int, err error) time.Duration {
	var no *Refusal
	if errors.As(err, &no) && no.RetryAfter > 0 {
		return no.RetryAfter
	}
	return min(feedPause<<min(failed, 10), longestFeedPause)
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

// feedReader follows the feed of changes.
type feedReader struct {
	s     *service
	query url.Values
	// after is the number of the last change that was told; -1 before the service said where the feed stands.
	after int64
	since time.Time
	tell  func(caseChange) error
}

// tellError is an error of the output.
type tellError struct{ error }

// next asks once and tells what came. After a failure it goes on behind the last change that was told.
func (r *feedReader) next(ctx context.Context) error {
	query := url.Values{"wait": {feedWait.String()}}
	for k, v := range r.query {
		query[k] = v
	}
	switch {
	case r.after >= 0:
		query.Set("after", strconv.FormatInt(r.after, 10))
	case !r.since.IsZero():
		query.Set("since", r.since.Format(time.RFC3339Nano))
	}
	var page struct {
		Changes []json.RawMessage `json:"changes"`
		Next    int64             `json:"next"`
	}
	if err := r.s.call(ctx, http.MethodGet, "/v1/changes", query, nil, &page); err != nil {
		return err
	}
	histories := map[string][]json.RawMessage{}
	for _, raw := range page.Changes {
		c := caseChange{whole: raw}
		if err := json.Unmarshal(raw, &c); err != nil {
			return err
		}
		if err := r.addEntry(ctx, &c, histories); err != nil {
			return err
		}
		if err := r.tell(c); err != nil {
			return tellError{err}
		}
		r.after = c.N
	}
	r.after = page.Next
	return nil
}

// addEntry puts the entry of its case's history to a change. Some changes are in none, and a case may be gone meanwhile, or seen no more.
func (r *feedReader) addEntry(ctx context.Context, c *caseChange, histories map[string][]json.RawMessage) error {
	if c.Case == nil {
		return nil
	}
	history, read := histories[c.Case.ID]
	if !read {
		var one struct {
			History []json.RawMessage `json:"history"`
		}
		err := r.s.call(ctx, http.MethodGet, "/v1/cases/"+c.Case.ID, nil, nil, &one)
		var no *Refusal
		if err != nil && !(errors.As(err, &no) && no.Status == http.StatusNotFound) {
			return err
		}
		history, histories[c.Case.ID] = one.History, one.History
	}
	for _, raw := range history {
		var h CaseStep
		if err := json.Unmarshal(raw, &h); err != nil {
			return err
		}
		if h.N == c.Version && h.Action == c.Kind {
			c.entry, c.wholeEntry = &h, raw
		}
	}
	return nil
}

// refused says what the service's refusal means for who follows the feed.
func (r *feedReader) refused(err error) error {
	var no *Refusal
	if !errors.As(err, &no) || no.Status != http.StatusGone {
		return denied(err)
	}
	if r.after < 0 {
		return fmt.Errorf("the feed is not kept back to %s; write a later --since: %w", r.since.Format(time.RFC3339), err)
	}
	return fmt.Errorf("changes after number %d were missed: the feed has them no more; read the cases anew (dizuo cases list), then watch without --after: %w", r.after, err)
}

// tellChange prints a change.
func (a *app) tellChange(c caseChange, format string, w words) error {
	if format != "json" {
		columns, _ := terminal(a.Out)
		lines(a.Out, columns, a.changeLine(c, w))
		return nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(c.whole, &all); err != nil {
		return err
	}
	if c.wholeEntry != nil {
		all["entry"] = c.wholeEntry
	}
	e := json.NewEncoder(a.Out)
	e.SetEscapeHTML(false)
	return e.Encode(all)
}

func (a *app) changeLine(c caseChange, w words) string {
	switch {
	case c.Mode != nil:
		line := clock(c.At) + "  " + w.mode("mode", w.mode(c.Mode.Mode))
		if c.Mode.ExpiresAt != nil {
			line += w.mode("ends", clock(*c.Mode.ExpiresAt), age(c.Mode.ExpiresAt.Sub(a.now())))
		}
		return line
	case c.Case == nil:
		return clock(c.At) + "  " + w.action(c.Kind)
	case c.entry == nil:
		return fmt.Sprintf("%s  %s  %s  %s  %s", clock(c.At), c.Case.Number, w.action(c.Kind), w.state(c.Case.State), c.Case.Title)
	}
	row := historyRows(w, []CaseStep{*c.entry})[0]
	return fmt.Sprintf("%s  %s  %s  %s  %s  %s", clock(c.At), c.Case.Number, row[1], row[2], row[3], c.Case.Title)
}
