package access

import (
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

// matrixPage is one file without scripts, that is read on a screen and on paper. Everything that comes from YAML is escaped.
var matrixPage = template.Must(template.New("matrix").Funcs(template.FuncMap{"join": func(list []string) string { return strings.Join(list, ", ") }}).Parse(`<!DOCTYPE html>
<html lang="{{.Lang}}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{.Title}}</title>
<style>
body { font: 14px/1.4 "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; margin: 2em; color: #111; background: #fff }
h2 { margin: 1.5em 0 .3em; break-after: avoid }
table { border-collapse: collapse; width: 100% }
th, td { border: 1px solid #888; padding: .25em .5em; text-align: left; vertical-align: top; overflow-wrap: anywhere }
th { background: #eee }
thead { display: table-header-group }
tr { break-inside: avoid }
.C2 td:nth-child(2), .C3 td:nth-child(2) { font-weight: bold }
@media print { body { margin: 0; font-size: 9pt } @page { size: A4 landscape; margin: 12mm } }
</style>
</head>
<body>
<h1>{{.Title}}</h1>
<p>{{.Made}}</p>
{{range .Tables}}<h2>{{.Consumer}}: {{.Dataset}}</h2>
<p>{{$.Under}} {{.Agreement}} · {{$.Purposes}}: {{join .Of.Purposes}}{{if .Of.Roles}} · {{$.Roles}}: {{join .Of.Roles}}{{end}} · {{$.Communities}}: {{if .Of.Communities}}{{join .Of.Communities}}{{else}}{{$.None}}{{end}}</p>
<table><thead><tr>{{range $.Heads}}<th scope="col">{{.}}</th>{{end}}</tr></thead><tbody>
{{range .Cells}}<tr class="{{.Class}}"><td>{{.Field}}</td><td>{{.Class}}</td><td>{{.Grade}}</td><td>{{.Personal}}</td><td>{{.Shown}}</td></tr>
{{end}}</tbody></table>
{{else}}<p>{{.None}}</p>
{{end}}</body>
</html>
`))

type matrixTable struct {
	Consumer, Dataset, Agreement string
	Of                           Cell
	Cells                        []Cell
}

// WriteHTML writes who sees what, a table for each organisation, dataset and agreement, as of a time.
func WriteHTML(w io.Writer, cells []Cell, lang string, now time.Time) error {
	page := struct {
		Lang, Title, Made, Under, Purposes, Roles, Communities, None string
		Heads                                                        []string
		Tables                                                       []matrixTable
	}{
		Lang: word(lang, "en", "zh"), Title: word(lang, "Who sees what", "谁能看到什么"), Made: fmt.Sprintf(word(lang, "Made at %s", "生成于 %s"), now.Format(time.RFC3339)),
		Under: word(lang, "agreement", "协议"), Purposes: word(lang, "purposes", "用途"), Roles: word(lang, "roles", "人员角色"), Communities: word(lang, "communities", "社区"), None: word(lang, "none", "无"),
		Heads: []string{word(lang, "Field", "字段"), word(lang, "Class", "数据类"), word(lang, "Grade", "分级"), word(lang, "Personal", "个人信息"), word(lang, "Shown", "提供方式")},
	}
	at := map[[4]string]int{}
	for _, c := range cells {
		k := [4]string{c.Platform, c.Consumer, c.Dataset, c.Agreement}
		i, ok := at[k]
		if !ok {
			i = len(page.Tables)
			at[k] = i
			page.Tables = append(page.Tables, matrixTable{Consumer: c.Platform + " " + c.Consumer, Dataset: c.Dataset, Agreement: c.Agreement, Of: c})
		}
		c.Shown = Shown(lang, c.Shown)
		page.Tables[i].Cells = append(page.Tables[i].Cells, c)
	}
	return matrixPage.Execute(w, page)
}

var shownWords = strings.NewReplacer("whole", "原值", "aggregates", "仅统计", "Pseudonym", "假名化", "KeepLast", "保留末位", "Generalise", "泛化", "Year", "年", "Quarter", "季", "Month", "月", "Day", "日", "Hour", "时")

// Shown says in a language how a field is given, of Cell.Shown.
func Shown(lang, shown string) string {
	if lang == Chinese {
		return shownWords.Replace(shown)
	}
	return shown
}
