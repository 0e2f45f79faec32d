package fleetverify

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

// Fact is a line of a report's head.
type Fact struct{ Name, Value string }

// Facts gives the head of the report: what was checked, when, with what.
func (r *Report) Facts(l Language) []Fact {
	var out []Fact
	add := func(en, zh, value string) {
		if value != "" {
			out = append(out, Fact{Text{en, zh}.In(l), value})
		}
	}
	add("Fleet", "设备批次", r.Fleet)
	add("Device", "设备", r.Device)
	add("Client id", "客户端标识", r.ClientID)
	add("Identity", "身份方式", r.Method)
	add("Broker", "服务端", r.Address)
	add("Reached at", "实际连接地址", r.Dialled)
	if r.Offline {
		add("Connection", "连接", Text{"none was made: what the platform does was not checked", "未建立：未检查平台行为"}.In(l))
	}
	if r.Profile != "" {
		add("Profile", "物模型", fmt.Sprintf("%s, schemaVersion %d", r.Profile, r.SchemaVersion))
	}
	add("Date", "日期", r.At.Format(time.RFC3339))
	add("Program", "程序", "dizuo fleet verify "+r.Tool)
	add("Broker certificate, SHA-256", "服务端证书 SHA-256", r.ServerCertificate)
	add("Broker CA, SHA-256", "服务端 CA SHA-256", r.BrokerCA)
	add("Sample payloads checked", "已检查报文样例", fmt.Sprint(r.Samples))
	add("Messages sent to own topics", "向自身主题发送消息", fmt.Sprint(r.Sent))
	return out
}

// Limits says what no run of this program can show.
func Limits(l Language) []string {
	var out []string
	for _, t := range []Text{
		{"The checks were made by this program with the device's credential, not by the device's own firmware. What the firmware sends is judged by the sample payloads alone.",
			"各项检查由本程序使用设备凭据完成，并非设备固件。固件发送的内容仅以报文样例判断。"},
		{"A PUBACK says that the broker answered. That a message to a wrong topic was dropped is shown by the platform's count of violations, where it could be read.",
			"PUBACK 仅说明服务端已应答。发往错误主题的消息是否被丢弃，以平台的越权计数为证（如可读取）。"},
		{"Units cannot be seen in a number: compare the declared and the sent ranges by eye.", "单位无法从数值看出：请人工对照声明范围与实际范围。"},
		{"\"Not proven\" is no failure: the evidence says why it could not be seen.", "“未能证明”不等于未通过：证据栏说明原因。"},
	} {
		out = append(out, t.In(l))
	}
	return out
}

// section is the checks of a group, for printing.
type section struct {
	Title  string
	Checks []Check
}

func (r *Report) sections(l Language) []section {
	var out []section
	var last Group
	for _, c := range r.Checks {
		if c.Group != last {
			out = append(out, section{Title: c.Group.Title(l)})
			last = c.Group
		}
		s := &out[len(out)-1]
		s.Checks = append(s.Checks, c)
	}
	return out
}

// labels are the words of a document.
func labels(l Language) map[string]string {
	out := map[string]string{}
	for key, t := range map[string]Text{
		"lang": {"en", "zh-CN"}, "title": {"Acceptance check of a device fleet", "设备批次接入验收自检报告"},
		"check": {"Check", "检查项"}, "result": {"Result", "结果"}, "evidence": {"Evidence", "证据"}, "action": {"What to do", "处理办法"},
		"problems": {"Problems of sample payloads", "报文样例的问题"}, "place": {"Sample", "样例"}, "problem": {"Problem", "问题"},
		"units": {"Units, for a person to compare", "单位（人工对照）"}, "field": {"Field", "字段"}, "declared": {"Declared", "声明"}, "seen": {"Seen in samples", "样例中"}, "hint": {"Note", "提示"},
		"limits": {"What this report does not say", "本报告的局限"}, "more": {"%d more problems are not listed.", "另有 %d 处问题未列出。"},
		"signature": {"Checked by, date: ______________________    Accepted by, date: ______________________", "检查人、日期：______________________　　验收人、日期：______________________"},
	} {
		out[key] = t.In(l)
	}
	return out
}

// cell makes a text safe in a Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;", "`", "'", "[", `\[`, "*", `\*`, "_", `\_`).Replace(text)
}

// Markdown writes the report as a document of its own.
func (r *Report) Markdown(w io.Writer, l Language) error {
	word := labels(l)
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = cell(cells[i])
		}
		line("| %s |", strings.Join(cells, " | "))
	}
	line("# %s\n", word["title"])
	line("**%s**\n\n| | |\n|---|---|", r.Summary().In(l))
	for _, f := range r.Facts(l) {
		row(f.Name, f.Value)
	}
	for _, s := range r.sections(l) {
		line("\n## %s\n\n| %s | %s | %s |\n|---|---|---|", s.Title, word["check"], word["result"], word["evidence"])
		for _, c := range s.Checks {
			evidence := c.Evidence.In(l)
			if c.Action != nil {
				evidence += " " + word["action"] + ": " + c.Action.In(l)
			}
			row(c.Title.In(l)+" ("+c.ID+"). "+c.Meaning.In(l), c.Result.Word(l), evidence)
		}
	}
	if len(r.Problems) > 0 {
		line("\n## %s\n\n| %s | %s |\n|---|---|", word["problems"], word["place"], word["problem"])
		for _, p := range r.Problems {
			row(p.Sample, p.Message.In(l))
		}
		if r.Omitted > 0 {
			line("\n"+word["more"], r.Omitted)
		}
	}
	if len(r.Units) > 0 {
		line("\n## %s\n\n| %s | %s | %s | %s |\n|---|---|---|---|", word["units"], word["field"], word["declared"], word["seen"], word["hint"])
		for _, u := range r.Units {
			row(u.Field, u.Declared(), u.Seen(), u.Note(l))
		}
	}
	line("\n## %s\n", word["limits"])
	for _, text := range Limits(l) {
		line("- %s", text)
	}
	line("\n%s", strings.ReplaceAll(word["signature"], "_", `\_`))
	_, err := io.WriteString(w, b.String())
	return err
}

// Declared prints the declared range with its unit.
func (u Unit) Declared() string { return span(u.Min, u.Max, u.Unit) }

// Seen prints the range in the samples.
func (u Unit) Seen() string { return number(u.Low) + " … " + number(u.High) }

// Note prints the hint, if there is one.
func (u Unit) Note(l Language) string {
	if u.Hint == nil {
		return ""
	}
	return u.Hint.In(l)
}

//go:embed report.html
var page string

// HTML writes the report as one page that needs nothing else.
func (r *Report) HTML(w io.Writer, l Language) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"in": func(t Text) string { return t.In(l) }, "word": func(x Result) string { return x.Word(l) }, "note": func(u Unit) string { return u.Note(l) },
		"more": func(n int) string { return fmt.Sprintf(labels(l)["more"], n) },
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{"Words": labels(l), "Report": r, "Summary": r.Summary().In(l), "Facts": r.Facts(l), "Sections": r.sections(l), "Limits": Limits(l)})
}
