package grid

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

type statisticsInput struct {
	By        []string `query:"by" enum:"community,grid,class,organization,severity,source" uniqueItems:"true" doc:"What to group by; nothing gives the whole alone. A case counts for every organization that was called to it."`
	Interval  string   `query:"interval" enum:"day,week,month" doc:"Length of a period, of local days; a week begins on Monday. Not given: one period."`
	From      string   `query:"from" maxLength:"40" doc:"Cases opened from then on: a date, which begins at local midnight, or a time (RFC 3339). Not given: 30 days before to."`
	To        string   `query:"to" maxLength:"40" doc:"Cases opened before then. Not given: now."`
	Community string   `query:"community" maxLength:"253" doc:"Only cases of this community."`
	Class     string   `query:"class" maxLength:"64" doc:"Only cases of this class."`
	Format    string   `query:"format" enum:"json,csv" default:"json"`
}

// StatisticsGroup is a group of cases. Of its dimensions it has those that were asked for.
type StatisticsGroup struct {
	Period       string  `json:"period,omitempty" doc:"First day of the period."`
	Community    *string `json:"community,omitempty"`
	Grid         *string `json:"grid,omitempty"`
	Class        *string `json:"class,omitempty"`
	Organization *string `json:"organization,omitempty" doc:"Empty: none was called."`
	Severity     *string `json:"severity,omitempty"`
	Source       *string `json:"source,omitempty"`
	Rest         bool    `json:"rest,omitempty" doc:"Groups that are too small to be shown, together."`
	Figures
}

// Statistics are figures of the cases that the person may see.
type Statistics struct {
	From     time.Time         `json:"from"`
	To       time.Time         `json:"to"`
	Interval string            `json:"interval,omitempty"`
	By       []string          `json:"by"`
	Groups   []StatisticsGroup `json:"groups" doc:"By period and dimension. Groups of fewer than 3 cases, of which one has data of class C2 or C3, are shown together as the rest."`
	Whole    Figures           `json:"whole" doc:"All of the cases, each once."`
	Withheld bool              `json:"withheld,omitempty" doc:"Fewer than 3 cases were left out of everything, because they have data of class C2 or C3 and there are none to show them with."`
}

// raw is an answer in one of two formats: a value that becomes JSON, or the bytes of a CSV file.
type rawOutput struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition"`
	Body        any
}

func (a *api) registerStatistics() {
	huma.Register(a.huma, huma.Operation{OperationID: "get-statistics", Method: http.MethodGet, Path: "/v1/statistics", Summary: "Figures of cases, by group and period",
		Responses: a.eitherFormat(reflect.TypeFor[Statistics]())}, a.statistics)
}

// eitherFormat describes an answer that is JSON of a type, or CSV.
func (a *api) eitherFormat(t reflect.Type) map[string]*huma.Response {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(t, true, "")
	return map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
		"application/json": {Schema: schema}, "text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}}}}
}

// asCSV gives a CSV file. It begins with a byte order mark: spreadsheets here take it for another character set otherwise.
func asCSV(name string, rows [][]string) (*rawOutput, error) {
	b := bytes.NewBufferString("\ufeff")
	w := csv.NewWriter(b)
	for _, row := range rows {
		for i, text := range row {
			row[i] = harmless(text)
		}
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, err
	}
	return &rawOutput{ContentType: "text/csv; charset=utf-8", Disposition: `attachment; filename="` + name + `"`, Body: b.Bytes()}, nil
}

// harmless marks text that a spreadsheet would run as a formula: the class of a case is what a person wrote.
func harmless(text string) string {
	if _, err := strconv.ParseFloat(text, 64); err != nil && strings.ContainsRune("=+-@\t\r", rune((text + " ")[0])) {
		return "'" + text
	}
	return text
}

func (a *api) statistics(ctx context.Context, in *statisticsInput) (*rawOutput, error) {
	q, err := a.question(ctx, in)
	if err != nil {
		return nil, err
	}
	var found reckoning
	err = pgx.BeginTxFunc(ctx, a.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		found, err = measure(ctx, tx, q)
		return err
	})
	if errors.Is(err, errTooMany) {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	if err != nil {
		return nil, a.fail(err)
	}
	out := Statistics{From: q.from.UTC(), To: q.to.UTC(), Interval: q.interval, By: q.by, Groups: []StatisticsGroup{}, Whole: found.whole, Withheld: found.left}
	for _, m := range found.groups {
		out.Groups = append(out.Groups, groupOf(q, m))
	}
	if in.Format == "csv" {
		raw, err := asCSV("statistics.csv", out.rows())
		if err != nil {
			return nil, a.fail(err)
		}
		return raw, nil
	}
	return &rawOutput{ContentType: "application/json", Body: out}, nil
}

// question reads what is asked.
func (a *api) question(ctx context.Context, in *statisticsInput) (question, error) {
	who := callerOf(ctx)
	zone := location(who.bundle.Directory.Platform)
	q := question{by: in.By, interval: in.Interval, zone: zoneName(who.bundle.Directory.Platform), to: a.now()}
	if q.by == nil {
		q.by = []string{}
	}
	var err error
	if in.To != "" {
		if q.to, err = dayOrTime(in.To, zone); err != nil {
			return q, huma.Error422UnprocessableEntity("query.to: " + err.Error())
		}
	}
	q.from = q.to.AddDate(0, 0, -30)
	if in.From != "" {
		if q.from, err = dayOrTime(in.From, zone); err != nil {
			return q, huma.Error422UnprocessableEntity("query.from: " + err.Error())
		}
	}
	if !q.from.Before(q.to) {
		return q, huma.Error422UnprocessableEntity("query.from: is not before query.to; write an earlier one")
	}
	q.where, q.args = who.scope.cases(1)
	filter := CaseFilter{Class: in.Class, Community: in.Community}
	var more string
	more, q.args = filter.where(who.scope, q.args)
	q.where += more
	return q, nil
}

// zoneName gives the name of location for PostgreSQL, to which CST is a zone of America.
func zoneName(p contract.Platform) string {
	if name := location(p).String(); name != "CST" {
		return name
	}
	return "Asia/Shanghai"
}

// dayOrTime reads a date, which begins at midnight of the zone, or a time.
func dayOrTime(text string, zone *time.Location) (time.Time, error) {
	if day, err := time.ParseInLocation(time.DateOnly, text, zone); err == nil {
		return day, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, errors.New(strconv.Quote(text) + " is neither a date such as 2026-11-01 nor a time such as 2026-11-01T08:00:00+08:00")
	}
	return at, nil
}

// groupOf names the period and the dimensions of a group.
func groupOf(q question, m measured) StatisticsGroup {
	g := StatisticsGroup{Figures: m.Figures, Rest: m.Key == restKey}
	if g.Rest {
		return g
	}
	parts := keyParts(m.Key)
	g.Period = parts[0]
	for i, d := range q.by {
		*g.dimension(d) = &parts[i+1]
	}
	return g
}

// dimension gives where a group has the name of a dimension.
func (g *StatisticsGroup) dimension(name string) **string {
	return map[string]**string{"community": &g.Community, "grid": &g.Grid, "class": &g.Class, "organization": &g.Organization, "severity": &g.Severity, "source": &g.Source}[name]
}

// figureNames are the columns of Figures in a table, in order.
var figureNames = []string{"cases", "open", "closed", "void", "notFiled", "overdue", "escalated", "reopened", "rated", "score",
	"acknowledgeP50", "acknowledgeP90", "onSiteP50", "onSiteP90", "closeP50", "closeP90"}

// cells gives the figures as text, as figureNames has them; empty is none.
func (f Figures) cells() (out []string) {
	for _, n := range []int64{f.Cases, f.Open, f.Closed, f.Void, f.NotFiled, f.Overdue, f.Escalated, f.Reopened, f.Rated} {
		out = append(out, strconv.FormatInt(n, 10))
	}
	for _, x := range []*float64{f.Score, f.AcknowledgeP50, f.AcknowledgeP90, f.OnSiteP50, f.OnSiteP90, f.CloseP50, f.CloseP90} {
		text := ""
		if x != nil {
			text = strconv.FormatFloat(*x, 'f', -1, 64)
		}
		out = append(out, text)
	}
	return out
}

// rows gives the groups as a table with a head; the rest has * in place of its period and dimensions. The whole is not in it.
func (s Statistics) rows() [][]string {
	head := slices.Clone(s.By)
	if s.Interval != "" {
		head = append([]string{"period"}, head...)
	}
	rows := [][]string{append(head, figureNames...)}
	for _, g := range s.Groups {
		var row []string
		for _, name := range head {
			switch {
			case g.Rest:
				row = append(row, restKey)
			case name == "period":
				row = append(row, g.Period)
			default:
				row = append(row, **g.dimension(name))
			}
		}
		rows = append(rows, append(row, g.cells()...))
	}
	return rows
}
