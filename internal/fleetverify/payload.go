package fleetverify

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/rules"
	"github.com/dizuo/dizuo/internal/schema"
)

const (
	// maxSkew is how far ahead the clock of a device may be.
	maxSkew = 5 * time.Minute
	// maxProblems bounds the problems that a report lists; the checks count them all.
	maxProblems = 200
	// maxSamples and maxLine bound what is read.
	maxSamples = 100_000
	maxLine    = 1 << 20
	// maxName bounds a name for which a nearest one is looked for, and what is printed of one.
	maxName = 64
)

// ReadSamples reads payloads, one a line (NDJSON); empty lines are skipped. name is said where a sample has a problem.
func ReadSamples(name string, in io.Reader) ([]Sample, error) {
	var out []Sample
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(bytes.TrimPrefix(lines.Bytes(), []byte("\xef\xbb\xbf")))
		if len(line) == 0 {
			continue
		}
		if len(out) == maxSamples {
			return nil, fmt.Errorf("%s: more than %d payloads; give a part of them", name, maxSamples)
		}
		out = append(out, Sample{fmt.Sprintf("%s:%d", name, n), bytes.Clone(line)})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w; write one payload a line", name, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: holds no payload; write one a line", name)
	}
	return out, nil
}

// reasons maps what can be wrong with a payload to the check that it fails.
var reasons = map[string]string{
	"NotAnObject": "payload.format", "Unknown": "payload.names", "WrongType": "payload.types", "OutOfRange": "payload.ranges",
	"Missing": "payload.required", "BadTime": "payload.time", "TimeInFuture": "payload.time", "TooLarge": "payload.size",
}

// payloads checks the samples with the decoder that the platform uses.
func (r *run) payloads() {
	if len(r.Samples) == 0 {
		r.block(say("Not tried: no samples; give --payload FILE with messages as the device sends them, one a line.", "未尝试：没有样例；请以 --payload 给出设备实际发送的报文，每行一条。"), GroupPayload)
		return
	}
	counts, first := map[string]int{}, map[string]Problem{}
	tally := func(p Problem) {
		id := reasons[p.Reason]
		if counts[id] == 0 {
			first[id] = p
		}
		counts[id]++
		if len(r.report.Problems) < maxProblems {
			r.report.Problems = append(r.report.Problems, p)
			return
		}
		r.report.Omitted++
	}
	seen := survey{low: map[string]float64{}, high: map[string]float64{}, fraction: map[string]bool{}}
	var timed int
	for _, s := range r.Samples {
		fields, ts, problems := r.decode(s)
		for _, p := range problems {
			tally(p)
		}
		seen.add(fields)
		if !ts.IsZero() {
			timed++
		}
	}
	for _, id := range slices.Sorted(maps.Values(reasons)) {
		if n := counts[id]; n > 0 {
			p := first[id]
			r.set(id, Failed, say("%d problems in %d samples; first: %s: ", "%[2]d 个样例中有 %[1]d 处问题；首个：%[3]s：", n, len(r.Samples), p.Sample).and(p.Message))
			continue
		}
		r.passed(id, "%d samples.", "%d 个样例。", len(r.Samples))
	}
	if counts["payload.time"] == 0 {
		r.passed("payload.time", "%d of %d samples have ts; of the others the time of arrival is taken.", "%d/%d 个样例带有 ts；其余以到达时间为准。", timed, len(r.Samples))
	}
	r.report.Units = seen.units(r.Profile.Profile)
}

// decode reads a sample as the platform does, and names what the platform only counts.
func (r *run) decode(s Sample) (fields map[string]any, ts time.Time, out []Problem) {
	tell := func(field, reason string, message Text) { out = append(out, Problem{s.Place, field, reason, message}) }
	if len(s.Raw) > r.PayloadBytes {
		tell("", "TooLarge", say("%d bytes, at most %d are taken", "%d 字节，上限为 %d", len(s.Raw), r.PayloadBytes))
	}
	p, err := rules.Decode(r.Profile.Profile, s.Raw)
	if err != nil {
		tell("", "NotAnObject", Text{err.Error(), "报文不是单个 JSON 对象"})
		return nil, ts, out
	}
	sent := keys(s.Raw)
	for _, problem := range p.Problems {
		switch {
		case problem.Reason == "Unknown": // named below: the platform only counts them
		case problem.Field == rules.FieldTime:
			tell(rules.FieldTime, "BadTime", say("ts: write an RFC 3339 time with a zone, such as 2026-06-01T08:00:00+08:00", "ts：应为带时区的 RFC 3339 时间，如 2026-06-01T08:00:00+08:00"))
		default:
			tell(problem.Field, problem.Reason, r.explain(problem))
		}
	}
	for _, name := range sent {
		if _, declared := r.Profile.Fields[name]; !declared && name != rules.FieldTime && name != rules.FieldID {
			tell(shown(name), "Unknown", r.unknown(name))
		}
	}
	if p.Time.After(r.Now().Add(maxSkew)) {
		tell(rules.FieldTime, "TimeInFuture", say("ts lies %s in the future; set the clock by NTP", "ts 在将来 %s；请以 NTP 校准时钟", p.Time.Sub(r.Now()).Round(time.Second)))
	}
	slices.SortStableFunc(out, func(a, b Problem) int { return strings.Compare(a.Field, b.Field) })
	return p.Fields, p.Time, out
}

// keys gives the names in a payload that Decode took for an object.
func keys(raw []byte) []string {
	var values map[string]json.RawMessage
	if json.Unmarshal(raw, &values) != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(values))
}

// shown gives a name as a report may hold it: what a device sends is not trusted to be short or printable.
func shown(name string) string {
	if len(name) > maxName {
		name = name[:maxName] + "…"
	}
	quoted := strconv.QuoteToGraphic(name)
	return quoted[1 : len(quoted)-1]
}

// unknown says of a name that the profile does not have it, and which it may mean.
func (r *run) unknown(name string) Text {
	names := append(slices.Collect(maps.Keys(r.Profile.Fields)), rules.FieldTime, rules.FieldID)
	if len(name) > maxName { // comparing costs its length
		names = nil
	}
	if near := schema.Nearest(name, names); len(near) > 0 {
		return say("%s is not a field of the profile; did you mean %s?", "%s 不是物模型的字段；是否应为 %s？", shown(name), strings.Join(near, " / "))
	}
	return say("%s is not a field of the profile", "%s 不是物模型的字段", shown(name))
}

// explain says what the declaration wants. It never repeats the value: samples may be of real homes.
func (r *run) explain(p rules.FieldProblem) Text {
	f := r.Profile.Fields[p.Field]
	switch {
	case p.Reason == "Missing":
		return say("%s is required and missing", "缺少必填字段 %s", p.Field)
	case p.Reason == "WrongType":
		return say("%s: want the type %s", "%s：类型应为 %s", p.Field, f.Type)
	case f.Type == "Enum":
		return say("%s: want one of %s", "%s：应为 %s 之一", p.Field, strings.Join(f.Enum, ", "))
	case f.Type == "Number" || f.Type == "Integer":
		return say("%s: out of the declared range %s", "%s：超出声明范围 %s", p.Field, span(f.Min, f.Max, f.Unit))
	}
	return say("%s: longer than 256 bytes", "%s：超过 256 字节", p.Field)
}

// span prints a declared range with its unit.
func span(low, high *float64, unit string) string {
	end := func(v *float64) string {
		if v == nil {
			return "∞"
		}
		return number(*v)
	}
	text := end(low) + " … " + end(high)
	if low == nil {
		text = "-" + text
	}
	return strings.TrimSpace(text + " " + unit)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// survey gathers the extremes of the numbers.
type survey struct {
	low, high map[string]float64
	fraction  map[string]bool
}

func (s survey) add(fields map[string]any) {
	for name, v := range fields {
		var x float64
		switch v := v.(type) {
		case float64:
			x = v
		case int64:
			x = float64(v)
		default:
			continue
		}
		if low, ok := s.low[name]; !ok || x < low {
			s.low[name] = x
		}
		if high, ok := s.high[name]; !ok || x > high {
			s.high[name] = x
		}
		s.fraction[name] = s.fraction[name] || x != math.Trunc(x)
	}
}

// units puts the declared units beside what was seen. The hint is for the mistake that ranges do not show: a share sent as 0 to 1 where
// percent is declared.
func (s survey) units(p contract.Profile) []Unit {
	var out []Unit
	for _, name := range slices.Sorted(maps.Keys(s.low)) {
		f := p.Fields[name]
		u := Unit{Field: name, Unit: f.Unit, Min: f.Min, Max: f.Max, Low: s.low[name], High: s.high[name]}
		if strings.HasPrefix(f.Unit, "%") && s.low[name] >= 0 && s.high[name] <= 1 && s.fraction[name] {
			hint := say("all values lie from 0 to 1: is it a share instead of percent?", "全部取值在 0 至 1 之间：是否误用小数代替百分数？")
			u.Hint = &hint
		}
		out = append(out, u)
	}
	return out
}

// harmless makes a payload that says as little as the profile allows: required fields only, at rest, false, the first word, or as near
// to 0 as the range lets them be. It carries an id by which it can be found.
func (r *run) harmless() []byte {
	r.marks++
	payload := map[string]any{rules.FieldTime: r.Now().UTC().Format(time.RFC3339), rules.FieldID: fmt.Sprintf("%s-%d", r.mark, r.marks)}
	for name, f := range r.Profile.Fields {
		if f.Required {
			payload[name] = rest(f, r.Now())
		}
	}
	raw, err := json.Marshal(payload)
	if err != nil { // strings and finite numbers
		panic(err)
	}
	return raw
}

// rest gives the valid value of a field that says least.
func rest(f contract.Field, now time.Time) any {
	switch f.Type {
	case "Boolean":
		return false
	case "Enum":
		if len(f.Enum) > 0 {
			return f.Enum[0]
		}
	case "Time":
		return now.UTC().Format(time.RFC3339)
	case "Number", "Integer":
		x := 0.0
		if f.Min != nil {
			x = max(x, *f.Min)
		}
		if f.Max != nil {
			x = min(x, *f.Max)
		}
		if f.Type == "Integer" && f.Min != nil && x == *f.Min {
			x = math.Ceil(x)
		} else if f.Type == "Integer" {
			x = math.Floor(x)
		}
		return x
	}
	return "dizuo-verify"
}

// newMark gives a random mark: the id of a run's payloads, and a password that nobody has.
func newMark() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // it never fails
	return "dizuo-verify-" + hex.EncodeToString(raw)
}
