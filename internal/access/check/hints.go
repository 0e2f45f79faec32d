package check

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Hint says what was wrong in a question, and what may be written instead.
type Hint struct {
	Wrong  []string `json:"wrong,omitempty"`
	Choose []string `json:"choose,omitempty"`
}

// hints gives for each reason that a list settles that list. It tells what is in the files of whoever asks, never more.
func hints(w World, q Question, d contract.Decision, g contract.Grant) map[string]Hint {
	out := map[string]Hint{}
	fields := slices.Sorted(maps.Keys(g.Fields))
	var counts contract.Aggregates
	if g.Aggregates != nil {
		counts = *g.Aggregates
	}
	for code, h := range map[string]Hint{
		"UnknownDataset":      {[]string{q.Dataset}, slices.Sorted(maps.Keys(w.Access.Datasets))},
		"NoAgreement":         {nil, slices.Sorted(maps.Keys(w.Access.Grants[q.Dataset][q.Consumer]))},
		"AgreementAmbiguous":  {nil, slices.Sorted(maps.Keys(w.Access.Grants[q.Dataset][q.Consumer]))},
		"PurposeNotAllowed":   {[]string{q.Purpose}, g.Purposes},
		"FieldNotGranted":     {notIn(q.Fields, fields), fields},
		"DimensionNotGranted": {notIn(grouped(q), counts.Dimensions), counts.Dimensions},
		"MeasureNotGranted":   {notIn(summed(q), counts.Measures), counts.Measures},
		"PersonRequired":      {nil, g.Roles},
		"RoleNotAllowed":      {rolesOf(q), g.Roles},
	} {
		if slices.Contains(d.Reasons, code) && len(h.Wrong)+len(h.Choose) > 0 {
			out[code] = h
		}
	}
	return out
}

func notIn(list, of []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(of, s) })
}

func grouped(q Question) (out []string) {
	if q.Aggregate != nil {
		out = slices.Clone(q.Aggregate.By)
	}
	for _, f := range q.Filter {
		out = append(out, f.Field)
	}
	return out
}

func summed(q Question) []string {
	if q.Aggregate == nil {
		return nil
	}
	return q.Aggregate.Sum
}

func rolesOf(q Question) []string {
	if q.Person == nil {
		return nil
	}
	return q.Person.Roles
}

// hint says a Hint behind a reason; empty where there is none.
func (w words) hint(h Hint) string {
	var parts []string
	if len(h.Wrong) > 0 {
		parts = append(parts, w.wrong+strings.Join(h.Wrong, ", "))
	}
	if len(h.Choose) > 0 {
		parts = append(parts, w.choose+strings.Join(h.Choose, ", "))
	}
	return strings.Join(parts, "; ")
}

// why says of each sleeping agreement why it grants nothing.
func (a Answer) why(w words) string {
	var all []string
	for _, name := range a.sleeping {
		s := a.world.Asleep[name]
		phase := s.Phase
		if w.chinese {
			if p := phases[s.Phase]; p != "" {
				phase = p
			}
		}
		why := name + ": " + phase
		if s.Wrong {
			why += w.comma + w.notCompiled
		}
		if len(s.Pending) > 0 {
			why += w.comma + w.pending + strings.Join(s.Pending, ", ")
		}
		all = append(all, why)
	}
	return strings.Join(all, "; ")
}

// phases of an agreement in Chinese.
var phases = map[string]string{"Draft": "草稿", "AwaitingApproval": "待签署", "InForce": "生效", "Suspended": "已暂停", "Expired": "已到期", "Revoked": "已撤销"}

// validity says from when to when an agreement holds, in the platform's time zone; empty where it is unbounded.
func (a Answer) validity(w words) string {
	zone, err := time.LoadLocation(a.world.Directory.Platform.TimeZone)
	if err != nil || a.world.Directory.Platform.TimeZone == "" {
		zone = time.FixedZone("Asia/Shanghai", 8*3600)
	}
	var parts []string
	for _, p := range []struct {
		word string
		at   int64
	}{{w.from, a.NotBefore}, {w.to, a.NotAfter}} {
		if p.at != 0 {
			parts = append(parts, p.word+time.Unix(p.at, 0).In(zone).Format("2006-01-02 15:04:05"))
		}
	}
	return strings.Join(parts, w.comma)
}
