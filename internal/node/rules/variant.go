package rules

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// orLongest gives the dedup of terms: where none is written, a late message may move an alarm's start by as long as a term holds or counts
// without making it another.
func orLongest(dedup int64, terms []term) int64 {
	if dedup != 0 {
		return dedup
	}
	for _, t := range terms {
		dedup = max(dedup, t.hold, t.within)
	}
	return dedup
}

// variants compiles what differs by mode and community. A variant changes values only: what the keys, and the bits of an observation, stand for
// is the same in all of them, or a history would be read by what it was not written by.
func (c *compiler) variants(s contract.Scenario) {
	if len(s.Variants) == 0 {
		return
	}
	c.r.variants = make(map[string]*plan, len(s.Variants))
	for _, key := range slices.Sorted(maps.Keys(s.Variants)) {
		c.r.variants[key] = c.variant(s, key)
	}
}

func (c *compiler) variant(s contract.Scenario, key string) *plan {
	v, at := s.Variants[key], "variants."+key
	base := &c.r.base
	if _, community := cutVariant(key); community != "" && c.r.scope == ScopePlatform && !reflect.DeepEqual(v, contract.Variant{Off: v.Off, Params: v.Params}) {
		c.fail(at, "changes numbers of what is counted over the whole platform, in one community; it may be off there, or have other parameters in its conditions")
	}
	p := *base
	p.off = v.Off
	if len(v.Params) > 0 {
		if p.params = maps.Clone(s.Params); p.params == nil {
			p.params = map[string]any{}
		}
		maps.Copy(p.params, v.Params)
	}
	if len(v.Terms) > 0 {
		p.terms = c.terms(v.Terms, at+".")
	}
	if !slices.EqualFunc(p.terms, base.terms, func(a, b term) bool { return a.mode == b.mode }) {
		c.fail(at, "has other kinds of terms; a variant changes values only")
	}
	dedup := s.DedupSeconds
	if v.DedupSeconds != nil {
		if dedup = *v.DedupSeconds; dedup < 0 {
			c.fail(at+".dedup", "must not be negative")
		}
	}
	p.dedup = orLongest(dedup*1000, p.terms)
	c.variantSchedule(v, at, &p)
	if len(v.Raise) > 0 {
		p.raises = c.raises(v.Raise, at+".")
	}
	if !slices.EqualFunc(p.raises, base.raises, sameRaise) {
		c.fail(at+".raise", "has other entries than the scenario; a variant changes their numbers only")
	}
	if len(v.Combines) > 0 {
		p.combines = c.combinations(v.Combines)
	}
	if !slices.EqualFunc(p.combines, base.combines, sameCombine) {
		c.fail(at+".combines", "has other entries than the scenario; a variant changes their numbers only")
	}
	return &p
}

func (c *compiler) variantSchedule(v contract.Variant, at string, p *plan) {
	if v.Schedule == nil {
		return
	}
	zone := c.r.zone
	if v.Schedule.TimeZone != "" {
		var err error
		if zone, err = time.LoadLocation(v.Schedule.TimeZone); err != nil {
			c.fail(at+".schedule.timeZone", "%q is no time zone; write an IANA name such as Asia/Shanghai", v.Schedule.TimeZone)
			return
		}
	}
	p.schedule = newSchedule(v.Schedule, zone)
	if (p.schedule == nil) != (c.r.base.schedule == nil) {
		c.fail(at+".schedule", "is there in the scenario or in the variant only; write it in both, or in none")
	}
}

// cutVariant takes the key of a variant apart.
func cutVariant(key string) (mode, community string) {
	mode, community, _ = strings.Cut(key, "/")
	return mode, community
}

func sameRaise(a, b raise) bool {
	a.atLeast, a.within, b.atLeast, b.within = 0, 0, 0, 0
	return a == b
}

func sameCombine(a, b combine) bool {
	a.within, b.within = 0, 0
	return a == b
}
