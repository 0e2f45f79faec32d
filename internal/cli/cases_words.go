package cli

// of gives the word of a catalogue for a value of the API; a value that is not in it stays as it is.
func (w words) of(catalogue map[string][2]string, value string) string {
	if word, ok := catalogue[value]; ok {
		return word[w.index]
	}
	return value
}

// state gives the name of a state: as the API has it, or the Chinese.
func (w words) state(s string) string {
	if zh := stateWords[s]; zh != "" && w.index == chinese {
		return zh
	}
	return s
}

func (w words) severity(s string) string {
	if zh := severityWords[s]; zh != "" && w.index == chinese {
		return zh
	}
	return s
}

// action gives the name of what happened to a case: as the API has it, or the Chinese.
func (w words) action(s string) string {
	if zh := actionWords[s]; zh != "" && w.index == chinese {
		return zh
	}
	return s
}

// row gives the heads of a table.
func (w words) row(heads ...string) []string {
	out := make([]string, len(heads))
	for i, h := range heads {
		out[i] = h
		if zh := headWords[h]; zh != "" && w.index == chinese {
			out[i] = zh
		}
	}
	return out
}

var stateWords = map[string]string{
	"Reported": "上报", "NotFiled": "不予立案", "Filed": "立案", "Dispatched": "派遣", "Handling": "处置", "Returned": "退回", "Extended": "延期",
	"Suspended": "挂账", "Verifying": "核查", "Closed": "结案", "Rated": "评价", "Void": "误报", "Reopened": "重新立案",
}

var severityWords = map[string]string{"Critical": "危急", "High": "高", "Medium": "中", "Low": "低"}

var actionWords = map[string]string{
	"Report": "上报", "File": "立案", "Decline": "不予立案", "Dispatch": "派遣", "Reassign": "改派", "Acknowledge": "接单", "Arrive": "到场", "Handle": "处置", "Return": "退回",
	"Extend": "延期", "Suspend": "挂账", "Resume": "恢复处置", "RequestVerification": "申请核查", "Verify": "核查通过", "Rework": "核查不通过", "Close": "结案",
	"Rate": "评价", "Void": "误报", "Reopen": "重新立案", "Note": "备注", "Escalated": "升级", "AcknowledgeOverdue": "接单超时", "OnSiteOverdue": "到场超时",
	"ResolveOverdue": "处置超时", "CalledInAddition": "加派", "NobodyToDispatchTo": "无人可派", "NobodyToEscalateTo": "无上级可升", "AlarmMerged": "告警并入", "CalendarChanged": "日历变更",
	"SignalAgain": "信号重复", "BeganEarlier": "起始提前", "TimesSet": "时限设定",
}

var headWords = map[string]string{
	"NUMBER": "编号", "STATE": "状态", "SEVERITY": "等级", "COMMUNITY": "社区", "DEVICE": "设备", "TITLE": "标题", "OPENED": "立案时间", "OVERDUE": "超时",
	"PERIOD": "时段", "GRID": "网格", "CLASS": "类别", "ORGANIZATION": "组织", "SOURCE": "来源", "CASES": "事件", "OPEN": "未结", "CLOSED": "结案", "VOID": "误报", "ESCALATED": "升级",
	"REOPENED": "重新立案", "SCORE": "评分", "ACKNOWLEDGE": "接单", "ON SITE": "到场", "CLOSE": "办结", "NAME": "名称",
}

// timeWords name the times of a case.
var timeWords = map[string][2]string{"Acknowledge": {"acknowledge", "接单"}, "OnSite": {"on site", "到场"}, "Resolve": {"resolve", "处置"}}

// partyWords say why somebody was called to a case.
var partyWords = map[string][2]string{
	"Responder": {"Responder", "处置"}, "Escalation": {"Escalation", "升级"}, "Joint": {"Joint", "联合处置"}, "Call": {"Call", "呼叫"}, "Told": {"Told", "告知"},
}

// showWords are the words of a case that is shown.
var showWords = map[string][2]string{
	"times": {"Times", "时限"}, "parties": {"Called", "派往"}, "closing": {"Before closing", "结案前核对"}, "history": {"History", "经过"},
	"left": {"%s left, due %s", "剩余 %s，截止 %s"}, "late": {"due %s, missed", "截止 %s，已超时"}, "paused": {"%s left, stands still", "剩余 %s，暂停计时"}, "working": {" of working time", "（工作时间）"},
	"called": {"called %s", "%s 派出"}, "released": {", released %s (%s)", "，%s 解除（%s）"},
}

// statWords are the words of statistics.
var statWords = map[string][2]string{
	"rest": {"(rest: groups too small to show)", "（其余：数量过少不单列）"}, "whole": {"all", "合计"}, "times": {"times are median/90th percentile from when the case was opened\n", "用时自上报起，为中位数/90 分位数\n"},
	"withheld":   {"fewer than 3 cases with sensitive data are left out\n", "不足 3 件的敏感事件未计入\n"},
	"incomplete": {"%s is not over\n", "%s 尚未结束\n"}, "hidden": {"* fewer than 3 cases with sensitive data: not shown\n", "* 不足 3 件的敏感事件，不显示\n"},
}
