package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Mode (平战) of the grid service, as it says it. Reason and who switched it are told to commanders and auditors only.
type Mode struct {
	N            int64      `json:"n"`
	Mode         string     `json:"mode"`
	DisplayName  string     `json:"displayName,omitempty"`
	Since        *time.Time `json:"since,omitempty"`
	ExpiresAt    *time.Time `json:"expiresAt,omitempty"`
	EndedAt      *time.Time `json:"endedAt,omitempty"`
	Reason       string     `json:"reason,omitempty"`
	Organization string     `json:"organization,omitempty"`
	Person       string     `json:"person,omitempty"`
	Role         string     `json:"role,omitempty"`
}

// modeWords in English and Chinese.
var modeWords = map[string][2]string{
	"Routine": {"Routine", "平时 (Routine)"}, "Emergency": {"Emergency", "战时 (Emergency)"},
	"mode": {"Mode: %s", "模式：%s"}, "since": {", since %s", "，自 %s 起"}, "ends": {", ends by itself at %s (in %s)", "，%s 自动结束（还有 %s）"},
	"why": {"Reason: %s", "原因：%s"}, "by": {"Switched by: %s", "切换人：%s"},
	"head": {"MODE|SINCE|ENDED|BY|REASON", "模式|开始|结束|切换人|原因"}, "lasts": {"until %s", "至 %s"},
}

func (w words) mode(key string, args ...any) string {
	text, ok := modeWords[key]
	if !ok {
		text = [2]string{key, key}
	}
	if len(args) == 0 {
		return text[w.index]
	}
	return fmt.Sprintf(text[w.index], args...)
}

func (a *app) modeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "mode", Short: "Show and switch the mode (平战)",
		Long: `Show the mode (平战) that a platform is in, who switched it and why, and switch it, over the REST API of the grid service. What is other in
a mode stands in spec.modes of the GridPlatform. It takes a person in role Commander (指挥员) of an organisation with the duty command whose
jurisdiction has every community of the platform.`}
	cmd.AddCommand(a.modeShowCommand(), a.modeSetCommand())
	return cmd
}

func (a *app) modeShowCommand() *cobra.Command {
	var f gridFlags
	var format, lang string
	var history bool
	var limit int
	cmd := &cobra.Command{
		Use: "show", Short: "The mode that the platform is in; with --history who switched it, when and why", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			say, err := a.words(lang)
			if err != nil {
				return err
			}
			if err := checkFormat(format); err != nil {
				return err
			}
			s, err := a.grid(cmd.Context(), &f)
			if err != nil {
				return err
			}
			if history {
				list, err := listModes(cmd.Context(), s, limit)
				if err != nil {
					return denied(err)
				}
				return a.printModes(say, format, list)
			}
			var raw json.RawMessage
			if err := s.call(cmd.Context(), http.MethodGet, "/v1/mode", nil, nil, &raw); err != nil {
				return denied(err)
			}
			return a.printMode(say, format, raw)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&history, "history", false, "who switched it, when and why, the last first")
	cmd.Flags().IntVar(&limit, "limit", 50, "with --history: at most so many")
	modeOutput(cmd, &format, &lang)
	return cmd
}

func modeOutput(cmd *cobra.Command, format, lang *string) {
	cmd.Flags().StringVarP(format, "output", "o", "", "json or yaml")
	cmd.Flags().StringVar(lang, "lang", "", "zh or en; default: by LC_ALL and LANG")
}

func (a *app) modeSetCommand() *cobra.Command {
	var f gridFlags
	var format, lang, reason, until string
	var lasts time.Duration
	cmd := &cobra.Command{
		Use:   "set Routine|Emergency --reason TEXT [--for 6h | --until TIME]",
		Short: "Switch the mode: Emergency for a time, or back to Routine",
		Example: `  dizuo mode set Emergency --reason "暴雨红色预警" --for 6h
  dizuo mode set Routine --reason "预警解除"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			say, err := a.words(lang)
			if err != nil {
				return err
			}
			if err := checkFormat(format); err != nil {
				return err
			}
			body := map[string]any{"mode": args[0], "reason": reason}
			switch {
			case lasts < 0:
				return usage("--for %s: write a time such as 6h", lasts)
			case lasts > 0:
				body["until"] = a.now().Add(lasts).UTC()
			case until != "":
				at, err := time.Parse(time.RFC3339, until)
				if err != nil {
					return usage("--until: %q is not a time such as 2026-06-01T18:00:00+08:00", until)
				}
				body["until"] = at
			}
			s, err := a.grid(cmd.Context(), &f)
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := s.call(cmd.Context(), http.MethodPut, "/v1/mode", nil, body, &raw); err != nil {
				return denied(err)
			}
			return a.printMode(say, format, raw)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why; it is in no report and no log, and is erased after a time")
	cmd.Flags().DurationVar(&lasts, "for", 0, "for how long, such as 6h; at most maxDuration of the mode")
	cmd.Flags().StringVar(&until, "until", "", "until when, as 2026-06-01T18:00:00+08:00")
	modeOutput(cmd, &format, &lang)
	_ = cmd.MarkFlagRequired("reason")
	cmd.MarkFlagsMutuallyExclusive("for", "until")
	return cmd
}

// listModes follows pages up to the limit.
func listModes(ctx context.Context, s *service, limit int) ([]json.RawMessage, error) {
	list, query := []json.RawMessage{}, url.Values{}
	for len(list) < limit {
		query.Set("limit", strconv.Itoa(min(limit-len(list), 500)))
		var page struct {
			Modes []json.RawMessage `json:"modes"`
			Next  int64             `json:"next"`
		}
		if err := s.call(ctx, http.MethodGet, "/v1/mode/history", query, nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Modes...)
		if page.Next == 0 {
			break
		}
		query.Set("before", strconv.FormatInt(page.Next, 10))
	}
	return list, nil
}

func (m Mode) by() string { return strings.TrimSpace(m.Organization + " " + m.Role + " " + m.Person) }

func (a *app) printMode(say words, format string, raw json.RawMessage) error {
	if printed, err := printAs(a.Out, format, raw); printed {
		return err
	}
	var m Mode
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	line := say.mode("mode", say.mode(m.Mode))
	if m.Since != nil {
		line += say.mode("since", clock(*m.Since))
	}
	if m.ExpiresAt != nil {
		line += say.mode("ends", clock(*m.ExpiresAt), age(m.ExpiresAt.Sub(a.now())))
	}
	lines := []string{line}
	if m.Reason != "" {
		lines = append(lines, say.mode("why", m.Reason))
	}
	if by := m.by(); by != "" {
		lines = append(lines, say.mode("by", by))
	}
	_, err := fmt.Fprintln(a.Out, strings.Join(lines, "\n"))
	return err
}

func (a *app) printModes(say words, format string, list []json.RawMessage) error {
	if printed, err := printAs(a.Out, format, list); printed {
		return err
	}
	rows := [][]string{strings.Split(say.mode("head"), "|")}
	for _, raw := range list {
		var m Mode
		if err := json.Unmarshal(raw, &m); err != nil {
			return err
		}
		since, ended := "-", "-"
		if m.Since != nil {
			since = clock(*m.Since)
		}
		switch {
		case m.EndedAt != nil:
			ended = clock(*m.EndedAt)
		case m.ExpiresAt != nil:
			ended = say.mode("lasts", clock(*m.ExpiresAt))
		}
		rows = append(rows, []string{say.mode(m.Mode), since, ended, dash(m.by()), dash(m.Reason)})
	}
	return table(a.Out, rows)
}
