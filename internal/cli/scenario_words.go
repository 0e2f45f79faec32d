package cli

// explainWords are what dizuo scenario explain says.
var explainWords = map[string][2]string{
	"source": {"Source: ", "出处："}, "runs": {"Runs: yes, ", "运行：是，"}, "off": {"Runs: no, ", "运行：否，"}, "takes": {"To run it: ", "启用条件："},
	"sees": {"Looks at: ", "看什么："}, "every device": {"every device, whatever it is", "全部设备"}, "messages": {"messages of %s", "%s 的消息"}, "fields": {"; its fields ", "；字段 "},
	"whom": {"For whom: ", "对谁："}, "all": {"all devices of the profile", "该型号全部设备"}, "registers": {"households in the register %s", "名册 %s 中的住户"},
	"applies": {"where %s", "仅限 %s"}, "consent": {"with consent %s on record", "须有 %s 的同意记录"},
	"when": {"Alarm when: ", "报警条件："}, "any": {"Alarm when any of", "报警条件（任一成立）"}, "holds": {"%s, for %s", "%s，持续 %s"}, "offline": {"the device missed its heartbeats", "设备错过心跳，离线"},
	"missed": {"for %s nothing came with %s; the device is not offline", "%s 内没有 %s，且设备在线"}, "missed window": {"in the whole window nothing came with %s; the device is not offline", "整个时段内没有 %s，且设备在线"},
	"counted": {", ", "，"}, "messages counted": {"%s times within %s", "%[2]s 内 %[1]s 次"}, "alarms": {"%s alarms within %s", "%[2]s 内 %[1]s 起报警"}, "distinct": {", those of one %s counted once", "，%s 相同的只计一次"},
	"scope": {", of one %s", "，同一%s"},
	"hours": {"Hours: ", "时段："}, "daily": {"daily", "每日"}, "unless": {"Not while: ", "不报："}, "clear": {"Ends when: ", "解除："}, "dedup": {"Again: ", "再次报警："},
	"joins": {"within %s it joins the case before", "%s 内并入原事件"}, "raise": {"Graver: ", "升级："}, "besides": {", and besides it calls ", "，并加派 "}, "combined": {"an alarm of %s at the same %s", "同一%[2]s另有 %[1]s 报警"}, "apart": {", at most %s apart", "，相隔不超过 %s"}, "becomes": {"with %s the case becomes %s", "%s，则升为%s"},
	"baseline": {"Usual: ", "常态："}, "figure": {"baseline.%s is the %s of the days' %s of %s over %s; %d days are needed", "baseline.%s 为 %[5]s 内每日 %[3]s(%[4]s) 的 %[2]s，至少 %[6]d 天"}, "of hours": {", of the hours %s–%s", "，取 %s–%s"},
	"values": {"Values", "取值"}, "unserved": {" (Community %s sets %s, which this version does not take)", "（社区 %s 设为 %s，本版本不采用）"},
	"input Case": {"changes of cases", "事件的变化"}, "input Command": {"what becomes of commands to devices", "设备指令的结果"}, "all of input": {"everything", "全部"},
	"act": {"Does: ", "处理："}, "Reopen": {"has the case worked on again, once for each such change", "重新办理该事件，每次变化一次"}, "Escalate": {"takes the case to the next level, once for each such change", "将该事件升一级，每次变化一次"},
	"ledger": {"Enters: ", "记账："}, "enters": {"%s for %s in the ledger %s, once for each such message", "%s 记入 %s（台账 %s），每条报文一次"}, "a day": {"; at most %s a day", "；每日最多 %s"},
	"case": {"Case: ", "事件："}, "no case": {"none, it only sends commands", "不立案，只发指令"}, "opens": {"class %s, %s, \"%s\"; alarms of one %s are one case", "类别 %s，%s，“%s”；同一%s的报警为一件"}, "after": {"; once the alarm has stood for %s", "；报警持续 %s 后立案"},
	"times": {"Times: ", "时限："}, "within": {"%s within %s", "%s %s 内"}, "closing": {"Before closing", "结案前核对"},
	"calls": {"Calls", "派往"}, "later": {"; step %d, when nobody before took the case in time", "；第 %d 步，前一步无人按时受理时"}, "graver": {"; from %s on", "；%s及以上"},
	"later or graver": {"; step %d, when nobody before took the case in time, or at once from %s on", "；第 %d 步，前一步无人按时受理时，%s及以上立即"}, "post": {"the post %s of the device's grid or community", "设备所在网格或社区的岗位 %s"}, "duty": {"organizations with the duty %s", "负有 %s 职责的组织"},
	"nobody": {": nobody in %s", "：%s 无人"}, "in compound": {"; in compound %s: %s", "；小区 %s：%s"}, "there": {": %s", "：%s"}, "grids": {": in %s", "：%s"},
	"commands": {"Tells devices", "指令"}, "command Raised": {"with the alarm %s, to %s", "报警时 %s，发往%s"}, "command Cleared": {"when it ends %s, to %s", "解除时 %s，发往%s"},
	"its device": {"the device", "该设备"}, "all of": {"all %s of the same %s", "同一%[2]s的全部 %[1]s"},
	"data": {"Data: ", "数据分级："}, "kept": {"Kept: ", "保存："}, "kept by itself": {"the case for %s after it is over", "办结后 %s"}, "kept for": {"the case for %s after it is over (%s of the GridPlatform)", "办结后 %s（平台 %s）"},
	"and": {", ", "、"}, "or": {" or ", "或"},
}

// fromWords say where a value comes from.
var fromWords = map[string][2]string{
	"Text": {"text of the paper", "文件原文"}, "Ours": {"ours", "本项目拟定"}, "Platform": {"platform", "平台设定"}, "Community": {"community", "社区设定"},
}

// scopeWords name scopes.
var scopeWords = map[string][2]string{
	"Device": {"device", "设备"}, "Household": {"household", "住户"}, "Building": {"building", "楼栋"}, "Compound": {"compound", "小区"}, "MicroGrid": {"micro-grid", "微网格"},
	"Grid": {"grid", "网格"}, "Community": {"community", "社区"}, "Platform": {"platform", "平台"},
}

// classWords say what a data class holds.
var classWords = map[string][2]string{
	"C0": {"C0, nothing about people", "C0，不涉个人"}, "C1": {"C1, ordinary personal data", "C1，一般个人信息"}, "C2": {"C2, sensitive personal data", "C2，敏感个人信息"},
	"C3": {"C3, biometric, police or special population", "C3，生物识别、公安或特殊人群"},
}
