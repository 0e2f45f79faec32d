package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/reason"
)

// Languages of Text.
const (
	English = "en"
	Chinese = "zh"
)

// words of one language. Titles has what package reason does not: the reason of this package, and names of rules; an English rule has the
// title that the policy gives it.
type words struct {
	allowed, denied, agreement, rules, fields, rows, keeps, why                string
	whole, all, requirement, communities, noRow, noOnward, retain, breakGlass  string
	grids, compounds, roster, groups                                           string
	purpose, role, valid, from, to, comma, pending, notCompiled, wrong, choose string
	masks, titles                                                              map[string]string
	chinese                                                                    bool
}

var languages = map[string]words{
	English: {
		allowed: "ALLOWED: %s may read %s for %s", denied: "DENIED: %s may not read %s for %s", agreement: "agreement", rules: "rules", fields: "fields", rows: "rows",
		keeps: "must keep to", why: "no grant", whole: "as it is", all: "divisions %s", requirement: "%s %s %s", communities: "communities %s", noRow: "no community of this platform",
		noOnward: "no passing on", retain: "delete after %s", breakGlass: "as an emergency only: it is reviewed", grids: "grids %s", compounds: "compounds %s", roster: "where the roster has put the person", groups: "counts and sums of groups of at least %d",
		purpose: "purpose", role: "role", valid: "valid", from: "from ", to: "until ", comma: ", ", pending: "approvals missing of ", notCompiled: "it does not compile", wrong: "not ", choose: "one of ",
		masks:  map[string]string{"Pseudonym": "pseudonym", "KeepLast": "last %d characters", "Generalise": "rounded to %s", "Drop": "dropped"},
		titles: map[string]string{ReasonCommunity: "No row of this community is in the agreement's rows"},
	},
	Chinese: {
		allowed: "允许：%s 可以为 %[3]s 读取 %[2]s", denied: "拒绝：%s 不得为 %[3]s 读取 %[2]s", agreement: "协议", rules: "依据规则", fields: "字段", rows: "行范围",
		keeps: "义务", why: "未授权的原因", whole: "原值", all: "行政区划 %s", requirement: "%s %s %s", communities: "社区 %s", noRow: "本平台没有任何社区",
		noOnward: "不得转交第三方", retain: "%s 后删除", breakGlass: "仅限紧急情况：事后审查", grids: "网格 %s", compounds: "小区 %s", roster: "限值班表所派区域", groups: "仅提供不少于 %d 条的分组的计数与合计",
		purpose: "用途", role: "角色", valid: "有效期", from: "自 ", to: "至 ", comma: "，", pending: "尚缺签署：", notCompiled: "编译不通过", wrong: "不可为 ", choose: "可选 ",
		chinese: true,
		masks:   map[string]string{"Pseudonym": "假名化", "KeepLast": "保留后 %d 位", "Generalise": "泛化为 %s", "Drop": "不提供", "Year": "年", "Quarter": "季", "Month": "月", "Day": "日", "Hour": "时"},
		titles: map[string]string{
			ReasonCommunity:     "协议的行范围不含该社区",
			"ambiguous":         "可能涉及多份协议",
			"asks_for_case":     "协议要求事件编号",
			"begun":             "协议已生效",
			"break_glass_opens": "应急访问成立",
			"case_covered":      "事件的类别、级别和地点符合协议",
			"case_found":        "平台上有该事件，或属他处事件、此处无法核对",
			"case_named":        "已提供事件编号",
			"case_number_right": "事件编号符合协议，或协议不限定",
			"case_numbered":     "已提供协议要求的事件编号，或协议不要求",
			"case_open":         "事件尚未办结，或刚办结、仍在宽限期内",
			"category_cleared":  "数据集的类别在本单位可获得的级别之内",
			"circumstances":     "情形符合协议",
			"claimed":           "声明为应急且确有必要",
			"class_covered":     "事件类别符合协议，或协议不限定",
			"cleared":           "本单位可以获得该级别的数据",
			"community_covered": "事件所在社区在协议之内，或协议不限定",
			"counts_given":      "协议提供统计结果",
			"dimensions_given":  "统计和筛选的字段均为协议约定的维度",
			"emergency_person":  "该人员可以使用应急访问",
			"enforced":          "网关能执行本策略的全部限制",
			"fields_cleared":    "所提供的每个字段均在本单位可获得的级别之内",
			"filter_given":      "筛选的字段均按原值提供",
			"hours_kept":        "在约定时段之内",
			"is_emergency":      "属应急访问",
			"is_personal":       "含个人信息",
			"is_shared":         "该数据集可以共享",
			"known":             "数据集和协议均存在",
			"measures_given":    "合计的字段均为协议约定的指标",
			"narrowed_by":       "数据集有协议限定范围所用的列，或协议不作此限定",
			"needs_person":      "须出示人员身份",
			"not_ended":         "协议未到期",
			"on_working_day":    "是工作日，或协议不作要求",
			"ours":              "所提供的是本平台的事件",
			"person_shown":      "已出示人员身份，或无须出示",
			"place_covered":     "事件发生在协议的范围之内",
			"placed":            "数据集标明各行所在的社区或行政区划",
			"purpose_agreed":    "用途在协议之内",
			"reason_given":      "已说明应急理由",
			"records_given":     "协议提供明细",
			"reviewed":          "没有逾期未复核的应急访问",
			"scope_enforceable": "行范围可以执行",
			"severity_covered":  "事件级别足够",
			"within_hours":      "在约定的起止时刻之间",
		},
	},
}

// Text gives the answer in words.
func (a Answer) Text(language string) string {
	w, ok := languages[language]
	if !ok {
		w = languages[English]
	}
	var b strings.Builder
	head := w.denied
	if a.Allow {
		head = w.allowed
	}
	fmt.Fprintf(&b, head+"\n", a.organization, a.dataset, a.Input.Purpose)
	if a.Agreement != "" {
		fmt.Fprintf(&b, "%s: %s\n", w.agreement, a.Agreement)
	}
	if why := a.why(w); why != "" {
		fmt.Fprintf(&b, "%s: %s\n", w.why, why)
	}
	if a.Allow {
		a.made(&b, w)
	}
	a.rules(&b, w)
	if a.Allow {
		a.opens(&b, w)
	}
	return b.String()
}

// made says what of the agreement made it: the purpose, the role in which was asked, and the validity.
func (a Answer) made(b *strings.Builder, w words) {
	for _, line := range [][2]string{{w.purpose, a.Input.Purpose}, {w.role, a.Decision.Role}, {w.valid, a.validity(w)}} {
		if line[1] != "" {
			fmt.Fprintf(b, "%s: %s\n", line[0], line[1])
		}
	}
}

func (a Answer) rules(b *strings.Builder, w words) {
	fmt.Fprintf(b, "%s:\n", w.rules)
	told := map[string]bool{}
	for _, r := range a.Rules {
		title, key := r.Title, r.Code
		if key == "" {
			key = r.Rule
		}
		if t := w.title(key); t != "" && (w.chinese || title == "") {
			title = t
		}
		fmt.Fprintf(b, "  %s  (%s:%d)\n", strings.TrimSpace(r.Code+"  "+title), r.File, r.Line)
		if hint := w.hint(a.Hints[r.Code]); hint != "" && !told[r.Code] {
			fmt.Fprintf(b, "    %s\n", hint)
		}
		told[r.Code] = true
	}
	for _, code := range a.Reasons {
		if !told[code] {
			fmt.Fprintf(b, "  %s\n", strings.TrimSpace(code+"  "+w.title(code)))
		}
	}
}

// opens says what the answer gives: fields with masks, rows, and what is to be kept to.
func (a Answer) opens(b *strings.Builder, w words) {
	if a.Decision.SmallCell > 0 {
		fmt.Fprintf(b, w.groups+"\n", a.Decision.SmallCell)
	}
	fmt.Fprintf(b, "%s:\n", w.fields)
	for _, name := range slices.Sorted(maps.Keys(a.Decision.Fields)) {
		fmt.Fprintf(b, "  %s: %s\n", name, w.mask(a.Decision.Fields[name]))
	}
	fmt.Fprintf(b, "%s:\n", w.rows)
	for _, line := range w.filter(a.Decision.Rows) {
		fmt.Fprintf(b, "  %s\n", line)
	}
	if len(a.Communities) == 0 {
		fmt.Fprintf(b, "  %s\n", w.noRow)
	} else {
		fmt.Fprintf(b, "  "+w.communities+"\n", strings.Join(a.Communities, ", "))
	}
	var keeps []string
	if a.NoOnward {
		keeps = append(keeps, w.noOnward)
	}
	if a.RetentionSeconds > 0 {
		keeps = append(keeps, fmt.Sprintf(w.retain, days(a.RetentionSeconds)))
	}
	if a.Decision.BreakGlass {
		keeps = append(keeps, w.breakGlass)
	}
	if len(keeps) > 0 {
		fmt.Fprintf(b, "%s: %s\n", w.keeps, strings.Join(keeps, "; "))
	}
}

// title gives the title of a reason or, in Chinese, of a rule.
func (w words) title(key string) string {
	if !reason.Known(key) {
		return w.titles[key]
	}
	r := reason.Of(key)
	if w.chinese {
		return r.Chinese
	}
	return r.English
}

func (w words) mask(m contract.Mask) string {
	switch m.Method {
	case "":
		return w.whole
	case "KeepLast":
		return fmt.Sprintf(w.masks["KeepLast"], m.Keep)
	case "Generalise":
		to := m.To
		if t := w.masks[to]; t != "" {
			to = t
		}
		return fmt.Sprintf(w.masks["Generalise"], to)
	}
	if text := w.masks[m.Method]; text != "" {
		return text
	}
	return m.Method
}

// filter gives a line for each part of a row scope; all must hold.
func (w words) filter(r *contract.Rows) []string {
	if r == nil {
		return nil
	}
	out := []string{fmt.Sprintf(w.all, strings.Join(r.Divisions, ", "))}
	for _, part := range []struct {
		format string
		values []string
	}{{w.grids, r.Grids}, {w.compounds, r.Compounds}} {
		if len(part.values) > 0 {
			out = append(out, fmt.Sprintf(part.format, strings.Join(part.values, ", ")))
		}
	}
	if r.Roster {
		out = append(out, w.roster)
	}
	for _, q := range r.Requirements {
		out = append(out, strings.TrimSpace(fmt.Sprintf(w.requirement, q.Field, q.Operator, strings.Join(q.Values, ", "))))
	}
	return out
}

func days(seconds int64) string {
	if seconds%86400 == 0 {
		return fmt.Sprintf("%d d", seconds/86400)
	}
	return fmt.Sprintf("%d h", seconds/3600)
}
