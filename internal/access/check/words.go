package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// Languages of Text.
const (
	English = "en"
	Chinese = "zh"
)

// words of one language. Titles translates codes of reasons and names of rules; what it lacks stays as the policy has it.
type words struct {
	allowed, denied, agreement, rules, fields, rows, keeps, why               string
	whole, all, requirement, communities, noRow, noOnward, retain, breakGlass string
	grids, compounds, roster                                                  string
	masks, titles                                                             map[string]string
}

var languages = map[string]words{
	English: {
		allowed: "ALLOWED: %s may read %s for %s", denied: "DENIED: %s may not read %s for %s", agreement: "agreement", rules: "rules", fields: "fields", rows: "rows",
		keeps: "must keep to", why: "no grant", whole: "as it is", all: "divisions %s", requirement: "%s %s %s", communities: "communities %s", noRow: "no community of this platform",
		noOnward: "no passing on", retain: "delete after %s", breakGlass: "as an emergency only: it is reviewed", grids: "grids %s", compounds: "compounds %s", roster: "where the roster has put the person",
		masks:  map[string]string{"Pseudonym": "pseudonym", "KeepLast": "last %d characters", "Generalise": "rounded to %s", "Drop": "dropped"},
		titles: map[string]string{ReasonCommunity: "No row of this community is in the agreement's rows"},
	},
	Chinese: {
		allowed: "允许：%s 可以为 %[3]s 读取 %[2]s", denied: "拒绝：%s 不得为 %[3]s 读取 %[2]s", agreement: "协议", rules: "依据规则", fields: "字段", rows: "行范围",
		keeps: "义务", why: "未授权的原因", whole: "原值", all: "行政区划 %s", requirement: "%s %s %s", communities: "社区 %s", noRow: "本平台没有任何社区",
		noOnward: "不得转交第三方", retain: "%s 后删除", breakGlass: "仅限紧急情况：事后审查", grids: "网格 %s", compounds: "小区 %s", roster: "限值班表所派区域",
		masks: map[string]string{"Pseudonym": "假名化", "KeepLast": "保留后 %d 位", "Generalise": "泛化为 %s", "Drop": "不提供", "Year": "年", "Quarter": "季", "Month": "月", "Day": "日", "Hour": "时"},
		titles: map[string]string{
			ReasonCommunity: "协议的行范围不含该社区", "GatewayOutdated": "网关版本低于策略", "UnknownDataset": "没有这个数据集", "SharingNone": "该数据集不予共享",
			"NoAgreement": "没有协议", "AgreementAmbiguous": "有多份协议适用，须指明一份", "NotYetValid": "协议尚未生效", "Expired": "协议已到期", "PurposeNotAllowed": "用途不在协议内",
			"FieldNotGranted": "请求的字段不在协议内", "NothingGranted": "没有可提供的字段", "RowScopeUnenforceable": "无法按行范围执行", "PersonRequired": "须出示经办人身份",
			"RoleNotAllowed": "经办人的岗位不在协议内", "CaseNumberRequired": "须提供案（事）件编号", "PolicyError": "策略未给出结论",
			"shared": "该数据集可以共享", "personal": "含个人信息", "needs_person": "须出示经办人身份", "person": "已出示经办人身份", "role_allowed": "经办人的岗位在协议内",
			"purpose_allowed": "用途在协议内", "begun": "协议已生效", "not_ended": "协议未到期", "scope_enforceable": "行范围可以执行", "enforced": "网关能执行本策略的全部限制",
			"case_number_satisfied": "已提供协议要求的案（事）件编号，或协议不要求",
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
	if a.Why != "" {
		fmt.Fprintf(&b, "%s: %s\n", w.why, a.Why)
	}
	a.rules(&b, w)
	if a.Allow {
		a.opens(&b, w)
	}
	return b.String()
}

func (a Answer) rules(b *strings.Builder, w words) {
	fmt.Fprintf(b, "%s:\n", w.rules)
	told := map[string]bool{}
	for _, r := range a.Rules {
		title, key := r.Title, r.Code
		if key == "" {
			key = r.Rule
		}
		if t := w.titles[key]; t != "" {
			title = t
		}
		told[r.Code] = true
		fmt.Fprintf(b, "  %s  (%s:%d)\n", strings.TrimSpace(r.Code+"  "+title), r.File, r.Line)
	}
	for _, code := range a.Reasons {
		if !told[code] {
			fmt.Fprintf(b, "  %s\n", strings.TrimSpace(code+"  "+w.titles[code]))
		}
	}
}

// opens says what the answer gives: fields with masks, rows, and what is to be kept to.
func (a Answer) opens(b *strings.Builder, w words) {
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
