package cli

import (
	"fmt"
	"strings"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// words speaks one language.
type words struct{ index int }

// Languages of words, as indexes into the catalogue.
const (
	english = 0
	chinese = 1
)

// words gives the language that was asked for, or that the environment speaks.
func (a *app) words(lang string) (words, error) {
	switch lang {
	case "en":
		return words{english}, nil
	case "zh":
		return words{chinese}, nil
	case "":
		if strings.HasPrefix(either(a.env("LC_ALL"), either(a.env("LC_MESSAGES"), a.env("LANG"))), "zh") {
			return words{chinese}, nil
		}
		return words{english}, nil
	}
	return words{}, usage("--lang %s: write zh or en", lang)
}

// say gives a phrase of the catalogue.
func (w words) say(key string, args ...any) string {
	phrase, ok := phrases[key]
	if !ok {
		phrase = [2]string{key, key}
	}
	if len(args) == 0 {
		return phrase[w.index]
	}
	return fmt.Sprintf(phrase[w.index], args...)
}

// count gives a phrase about a number of objects of a kind.
func (w words) count(key, kind string, args ...any) string {
	name := plurals[kind]
	if w.index == chinese {
		name = phrases[kind][chinese]
	} else if n, ok := args[0].(int); ok && n == 1 {
		name = phrases[kind][english]
	}
	return fmt.Sprintf(phrases[key][w.index], append([]any{args[0], name}, args[1:]...)...)
}

func (w words) phase(p v1alpha1.AgreementPhase) string {
	if p == "" {
		return w.say("no phase")
	}
	if w.index == chinese {
		return phrases["phase "+string(p)][chinese]
	}
	return string(p)
}

var plurals = map[string]string{
	"Community": "Communities", "Organization": "Organizations", "DeviceProfile": "DeviceProfiles", "DeviceFleet": "DeviceFleets",
	"EdgeNode": "EdgeNodes", "Scenario": "Scenarios", "Dataset": "Datasets", "DataSharingAgreement": "DataSharingAgreements",
}

// phrases in English and Chinese. Reasons and messages of conditions are the operator's own and stay as they are.
var phrases = map[string][2]string{
	"GridPlatform":         {"GridPlatform", "平台"},
	"Community":            {"Community", "社区"},
	"Organization":         {"Organization", "组织"},
	"DeviceProfile":        {"DeviceProfile", "物模型"},
	"DeviceFleet":          {"DeviceFleet", "设备群"},
	"EdgeNode":             {"EdgeNode", "边缘节点"},
	"Scenario":             {"Scenario", "场景"},
	"Dataset":              {"Dataset", "数据集"},
	"DataSharingAgreement": {"DataSharingAgreement", "数据共享协议"},

	"all ready":     {"%d %s Ready", "%d 个%s已就绪"},
	"some ready":    {"%d %s, %d Ready", "%d 个%s，其中 %d 个已就绪"},
	"first blocker": {"First blocker: %s", "首个障碍：%s"},
	"no platform":   {"namespace %s holds no GridPlatform; choose another with -n, or -A", "命名空间 %s 中没有平台；请用 -n 选择其他命名空间，或使用 -A"},
	"no status":     {"has no status yet; is the operator running?", "尚无状态；operator 是否在运行？"},
	"old status":    {"the operator has not taken the last change yet", "operator 尚未处理最近一次修改"},
	"unreadable":    {"not shown, because you may not list it: %s", "无权查看，未显示：%s"},

	"online":      {", %d of %d devices online", "，设备在线 %d/%d"},
	"offline":     {", %d offline", "，离线 %d"},
	"never seen":  {", %d never seen", "，从未上线 %d"},
	"unknown":     {", %d unknown", "，未知 %d"},
	"rejected":    {", %d rows rejected", "，拒收 %d 行"},
	"invalid":     {", %d messages that do not fit the profile", "，不合物模型的消息 %d 条"},
	"violations":  {", %d publishes outside permissions", "，越权发布 %d 次"},
	"components":  {"Components %d/%d", "组件 %d/%d"},
	"bundle":      {"Bundle: sequence %d, %s", "策略包：序号 %d，%s"},
	"issued":      {", issued %s ago", "，%s 前签发"},
	"lease ends":  {", lease ends in %s", "，离线有效期还有 %s"},
	"lease ended": {", lease ended %s ago", "，离线有效期已过 %s"},
	"enforcement": {"Enforcement %d/%d", "策略生效 %d/%d"},
	"effective":   {", in force after %s", "，用时 %s"},
	"waiting":     {", waiting for %s", "，已等待 %s"},
	"pending":     {", pending: %s", "，未确认：%s"},
	"mode":        {"Mode %s", "模式 %s"},
	"mode ends":   {", ends in %s", "，%s 后结束"},
	"cases":       {"Cases: %d open, %d overdue", "事件：未结 %d，超时 %d"},
	"endpoints":   {"Endpoints", "服务地址"},
	"no phase":    {"without a phase", "无状态"},

	"phase Draft":            {"Draft", "草案"},
	"phase AwaitingApproval": {"AwaitingApproval", "待审批"},
	"phase InForce":          {"InForce", "生效中"},
	"phase Suspended":        {"Suspended", "已暂停"},
	"phase Expired":          {"Expired", "已到期"},
	"phase Revoked":          {"Revoked", "已撤销"},
}
