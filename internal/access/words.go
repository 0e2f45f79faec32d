package access

import (
	"fmt"
	"strings"
	"time"
)

// axisWords name each axis of a Change, in English and Chinese.
var axisWords = map[string][2]string{
	"agreement": {"the whole agreement", "整个协议"}, "fields": {"fields", "字段"}, "mask": {"mask", "脱敏"}, "column": {"column of a field", "字段的列"},
	"communities": {"communities", "社区"}, "grids": {"grids", "网格"}, "compounds": {"compounds", "小区"}, "roster": {"only where on duty", "仅限值班范围"},
	"requirements": {"conditions on rows", "行条件"}, "purposes": {"purposes", "用途"}, "person": {"a person must be shown", "须出示人员身份"}, "roles": {"roles of persons", "人员角色"},
	"caseNumberRequired": {"a case number is asked for", "须提供案件编号"}, "caseNumber": {"bound to one case", "限定案件"}, "consent": {"consent that is needed", "所需同意"},
	"notBefore": {"begins", "开始时间"}, "notAfter": {"ends", "截止时间"},
	"requestsPerDay": {"requests a day", "每日请求数"}, "recordsPerDay": {"records a day", "每日记录数"}, "hours": {"hours", "时段"},
	"case": {"condition on cases", "案件条件"}, "caseClasses": {"classes of cases", "案件类别"}, "caseSeverity": {"least severity of a case", "案件最低等级"}, "caseGrace": {"seconds after a case is closed", "结案后宽限（秒）"},
	"aggregates": {"counts and sums", "汇总统计"}, "aggregatesOnly": {"nothing but counts and sums", "仅限汇总统计"}, "smallCell": {"smallest group that is told", "最小分组"}, "measures": {"fields that are summed", "求和字段"}, "dimensions": {"fields that are grouped by", "分组字段"},
	"breakGlass": {"reading in an emergency", "应急读取"}, "breakGlassRoles": {"roles in an emergency", "应急角色"}, "breakGlassReview": {"seconds until the review", "复核时限（秒）"}, "breakGlassReviewer": {"who reviews", "复核单位"},
	"noOnward": {"may not be passed on", "不得转交第三方"}, "retention": {"must be deleted after", "删除期限"}, "clearance": {"highest data class that the consumer may be given", "使用方可获得的最高数据级别"},
	"source": {"where the data is", "数据来源"}, "identity": {"keys and tokens that speak for the consumer", "代表使用方的密钥与令牌"},
}

// Languages of what is said.
const (
	English = "en"
	Chinese = "zh"
)

func word(lang, english, chinese string) string {
	if lang == Chinese {
		return chinese
	}
	return english
}

// Lines says changes in words: a heading for each agreement, then what it opens (+), closes (-), and what may do either (~).
func Lines(changes []Change, lang string) []string {
	var out []string
	heading := ""
	for _, c := range changes {
		if h := c.heading(lang); h != heading {
			heading = h
			out = append(out, h)
		}
		axis := axisWords[c.Axis]
		label := "  " + map[Effect]string{Wider: "+", Narrower: "-", Other: "~"}[c.Effect] + " " + word(lang, axis[0], axis[1]) + ": "
		if c.From != "" || c.To != "" {
			none := word(lang, "(none)", "（无）")
			out = append(out, label+or(c.From, none)+" -> "+or(c.To, none))
			continue
		}
		opens := strings.Join(c.Opens, ", ")
		if c.Residents > 0 {
			opens += fmt.Sprintf(word(lang, " (about %d residents, by the communities' own figures)", "（约 %d 名居民，据社区自报数字）"), c.Residents)
		}
		if c.Class != "" && opens != "" {
			opens += fmt.Sprintf(word(lang, " (data class %s)", "（数据级别 %s）"), c.Class)
		}
		if opens != "" {
			out = append(out, label+word(lang, "opens ", "开放 ")+opens)
		}
		if len(c.Closes) > 0 {
			if opens != "" {
				label = "  - " + word(lang, axis[0], axis[1]) + ": "
			}
			out = append(out, label+word(lang, "closes ", "收回 ")+strings.Join(c.Closes, ", "))
		}
	}
	return append(out, verdict(changes, lang))
}

func (c Change) heading(lang string) string {
	if c.OnceSigned {
		c.OnceSigned = false
		return word(lang, "once signed: ", "签署后：") + c.heading(lang)
	}
	if c.Dataset == "" {
		return c.Platform + ": " + named(c.ConsumerName, c.Consumer)
	}
	return fmt.Sprintf(word(lang, "%s: %s reads %s (agreement %s)", "%s：%s 读取 %s（协议 %s）"), c.Platform, named(c.ConsumerName, c.Consumer), named(c.DatasetName, c.Dataset), c.Agreement)
}

func verdict(changes []Change, lang string) string {
	count := map[Effect]int{}
	for _, c := range changes {
		count[c.Effect]++
	}
	if len(changes) == 0 {
		return word(lang, "no difference in access", "访问权限无变化")
	}
	return fmt.Sprintf(word(lang, "%d wider, %d narrower, %d that cannot be compared", "放宽 %d 项，收紧 %d 项，无法比较 %d 项"), count[Wider], count[Narrower], count[Other])
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func named(display, name string) string {
	if display == "" {
		return name
	}
	return display + " (" + name + ")"
}

// Age says a duration as Go writes it, such as "720h0m0s", in whole days, hours or minutes: "30d". Another text stays as it is.
func Age(duration string) string {
	d, err := time.ParseDuration(duration)
	if err != nil {
		return duration
	}
	return inDays(int64(d.Seconds()))
}
