package grid

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
)

type oneTableInput struct {
	Period string `query:"period" required:"true" pattern:"^[0-9]{4}-(0[1-9]|1[0-2])$" doc:"A month, such as 2026-11."`
	Format string `query:"format" enum:"json,csv" default:"json"`
	Lang   string `query:"lang" enum:"zh,en" default:"zh" doc:"Language of the heads of the CSV file."`
}

// OneTable is the monthly table of the communities that a person's organisation covers (“一套表”).
type OneTable struct {
	Period     string         `json:"period"`
	From       time.Time      `json:"from"`
	To         time.Time      `json:"to"`
	Complete   bool           `json:"complete" doc:"Whether the month is over."`
	Title      string         `json:"title"`
	TitleEN    string         `json:"titleEN"`
	Source     string         `json:"source" doc:"The document that asks for the table."`
	Indicators []Indicator    `json:"indicators"`
	Rows       []*OneTableRow `json:"rows"`
	Total      OneTableRow    `json:"total"`
}

func (a *api) registerOneTable() {
	huma.Register(a.huma, huma.Operation{OperationID: "get-one-table", Method: http.MethodGet, Path: "/v1/one-table", Summary: "The monthly table of communities (一套表)",
		Responses: a.eitherFormat(reflect.TypeFor[OneTable]())}, a.oneTable)
}

func (a *api) oneTable(ctx context.Context, in *oneTableInput) (*rawOutput, error) {
	who := callerOf(ctx)
	table, err := readOneTable()
	if err != nil {
		return nil, a.fail(err)
	}
	from, err := time.ParseInLocation("2006-01", in.Period, location(who.bundle.Directory.Platform))
	if err != nil {
		return nil, huma.Error422UnprocessableEntity(fmt.Sprintf("query.period: %q is no month; write one such as 2026-11", in.Period))
	}
	to := from.AddDate(0, 1, 0)
	out := OneTable{Period: in.Period, From: from.UTC(), To: to.UTC(), Complete: !a.now().Before(to), Title: table.Title, TitleEN: table.TitleEN, Source: table.Source,
		Indicators: table.Indicators, Total: OneTableRow{Values: map[string]*float64{}}}
	order, rows := rowsOfTable(who.bundle.Directory, who.scope)
	out.Rows = append([]*OneTableRow{}, order...)
	if err := pgx.BeginTxFunc(ctx, a.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		for _, x := range table.Indicators {
			values, err := indicate(ctx, tx, who.scope, x, from, to)
			if err != nil {
				return err
			}
			fillIn(x.ID, oneTableFigures[x.Figure].value == "count(*)", values, rows, &out.Total)
		}
		return nil
	}); err != nil {
		return nil, a.fail(err)
	}
	if in.Format == "csv" {
		raw, err := asCSV("one-table-"+in.Period+".csv", out.csv(in.Lang))
		if err != nil {
			return nil, a.fail(err)
		}
		return raw, nil
	}
	return &rawOutput{ContentType: "application/json", Body: out}, nil
}

// withheldCell stands for a value that is not shown.
const withheldCell = "*"

// csv gives the table with a head in a language; the last row is the total.
func (t OneTable) csv(lang string) [][]string {
	head, total := []string{"月份", "社区", "名称", "区划代码"}, "合计"
	if lang == "en" {
		head, total = []string{"period", "community", "name", "division"}, "total"
	}
	for _, x := range t.Indicators {
		name, unit := x.Name, x.Unit
		if lang == "en" {
			name = x.NameEN
			if x.UnitEN != "" {
				unit = x.UnitEN
			}
		}
		head = append(head, name+" ("+unit+")")
	}
	rows := [][]string{head}
	for _, r := range t.Rows {
		rows = append(rows, t.cells([]string{t.Period, r.Community, r.Name, r.Division}, *r))
	}
	return append(rows, t.cells([]string{t.Period, total, "", ""}, t.Total))
}

func (t OneTable) cells(row []string, r OneTableRow) []string {
	for _, x := range t.Indicators {
		text := ""
		switch v := r.Values[x.ID]; {
		case slices.Contains(r.Withheld, x.ID):
			text = withheldCell
		case v != nil:
			text = strconv.FormatFloat(*v, 'f', -1, 64)
		}
		row = append(row, text)
	}
	return row
}
