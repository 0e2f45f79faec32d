// Package reason has the one table of reasons why a request is refused, with a title for people in English and Chinese. The gateway, the
// log's readers and `dizuo access check` tell a refusal in the same words.
package reason

import "slices"

// Refusal is a reason with the HTTP status and the title of its problem document.
type Refusal struct {
	// Code is stable: callers and the decision log rely on it.
	Code string
	// Status of HTTP.
	Status int
	// English and Chinese title.
	English, Chinese string
}

// Refusals are all reasons, the policy's and the gateway's. Of several the one that stands first gives status and title.
// docs/guides/reading.md has the same table.
var Refusals = []Refusal{
	{"StaleBundle", 503, "the policy is older than its lease: nothing is given out until a newer one comes", "策略已过有效期，在更新之前不提供任何数据"},
	{"GatewayOutdated", 503, "the gateway is older than the policy: nothing is given out until it is upgraded", "网关版本低于策略版本，升级之前不提供任何数据"},
	{"PolicyError", 503, "the policy gave no decision", "策略未能作出决定"},
	{"LogUnavailable", 503, "the decision cannot be logged, so nothing is given out", "无法记录访问日志，因此不提供数据"},
	{"SourceUnavailable", 503, "the dataset cannot be read now", "数据源暂时无法读取"},
	{"SourceBusy", 503, "too many read this source now: come again shortly", "该数据源当前读取者过多，请稍后再试"},
	{"ConsentUnavailable", 503, "it cannot be looked up now who consents, so nothing is given out", "暂时无法核对数据主体的同意，因此不提供数据"},
	{"CaseUnavailable", 503, "the case cannot be looked up now", "暂时无法核对事件编号"},
	{"QuotaUnavailable", 503, "it is not known now what other gateways took of the agreement's quota, so nothing is given out", "暂时无法核对协议在各网关的用量，因此不提供数据"},
	{"BreakGlassUnavailable", 503, "the use of break-glass cannot be written down for its review, so nothing is given out", "无法登记应急访问以供复核，因此不提供数据"},
	{"RateLimited", 429, "this organisation asks too often", "本单位请求过于频繁"},
	{"UnknownOrganization", 401, "neither certificate nor token speaks for an organisation of this platform", "证书或令牌不代表本平台的任何单位"},
	{"PersonInvalid", 401, "the token in header Dizuo-Person is not valid", "Dizuo-Person 中的人员令牌无效"},
	{"InvalidRequest", 422, "a part of the request is not as the API describes it", "请求内容不符合接口说明"},
	{"InvalidFilter", 400, "a condition is not field:operator:values, or its value does not fit the field", "筛选条件格式有误，或取值与字段类型不符"},
	{"TooManyGroups", 422, "there are too many groups: ask for fewer dimensions", "分组过多，请减少统计维度"},
	{"SubjectsTooMany", 422, "too many persons are in scope for those who consent to be counted: share fewer rows", "范围内的数据主体过多，无法按同意统计，请缩小共享范围"},
	{"InvalidCursor", 400, "the cursor is not one of this request", "分页游标不属于本次查询"},
	{"BreakGlassInvalid", 400, "header Dizuo-Break-Glass is not a percent-encoded reason of at most 500 characters", "Dizuo-Break-Glass 应为不超过 500 字、经百分号编码的理由"},
	{"BreakGlassUnknown", 404, "no such use of break-glass waits for a review by this organisation", "没有等待本单位复核的该次应急访问"},
	{"NoAgreement", 403, "there is no agreement under which this organisation may read this dataset", "没有允许本单位读取该数据集的协议"},
	{"UnknownDataset", 403, "there is no such dataset", "没有该数据集"},
	{"AgreementAmbiguous", 409, "several agreements may be meant: name one with the parameter agreement", "可能涉及多份协议，请用参数 agreement 指定一份"},
	{"QuotaExceeded", 429, "the agreement's quota for today is used up", "协议当日的配额已用完"},
	{"SharingNone", 403, "the dataset is not shared", "该数据集不予共享"},
	{"NotYetValid", 403, "the agreement has not begun", "协议尚未生效"},
	{"Expired", 403, "the agreement has ended", "协议已到期"},
	{"PurposeNotAllowed", 403, "the purpose is not in the agreement", "用途不在协议约定之内"},
	{"FieldNotGranted", 403, "a field was asked for that the agreement does not give", "请求了协议未提供的字段"},
	{"NothingGranted", 403, "the agreement drops every field that was asked for", "所请求的字段均不予提供"},
	{"AggregatesOnly", 403, "the agreement gives nothing but counts and sums", "协议只提供统计结果"},
	{"AggregatesNotGranted", 403, "the agreement gives no counts and sums", "协议不提供统计结果"},
	{"DimensionNotGranted", 403, "the agreement does not give counts by this field", "协议不提供按该字段的统计"},
	{"MeasureNotGranted", 403, "the agreement does not give sums of this field", "协议不提供该字段的合计"},
	{"FilterNotGranted", 403, "only fields that are asked for and given unmasked can be picked by", "只能按所请求的、未脱敏的字段筛选"},
	{"ClearanceTooLow", 403, "the data is of a higher class than this organisation may be given", "数据级别高于本单位可获得的级别"},
	{"RowScopeUnenforceable", 403, "the dataset does not say where a row belongs, so the agreement's scope cannot be kept", "数据集没有可用于限定范围的列，无法执行协议的范围"},
	{"ConsentUnenforceable", 403, "the dataset does not say about whom a row is, so consent cannot be looked up", "数据集没有标明数据主体的列，无法核对同意"},
	{"PersonRequired", 403, "a person must be shown: send header Dizuo-Person", "须出示人员身份，请发送 Dizuo-Person"},
	{"RoleNotAllowed", 403, "the person's role is not in the agreement", "人员岗位不在协议约定之内"},
	{"OutsideHours", 403, "it is outside the agreed hours", "不在协议约定的时段之内"},
	{"CaseNumberRequired", 403, "a case number must be given", "须提供事件编号"},
	{"CaseNumberMismatch", 403, "the agreement is for another case", "协议针对的是另一事件"},
	{"CaseUnknown", 403, "there is no such case on the platform", "平台上没有该事件"},
	{"CaseNotOpen", 403, "the case is closed", "该事件已办结"},
	{"CaseNotCovered", 403, "the agreement is not for a case of this class, severity or place", "协议不适用于该类别、级别或地点的事件"},
	{"BreakGlassNotGranted", 403, "the agreement has no break-glass", "协议未约定应急访问"},
	{"BreakGlassReasonRequired", 403, "break-glass needs a reason", "应急访问须说明理由"},
	{"BreakGlassRoleNotAllowed", 403, "the person's role may not break the glass", "该岗位不得使用应急访问"},
	{"BreakGlassReviewOverdue", 403, "an earlier use of break-glass was not reviewed in time", "此前的应急访问逾期未复核"},
}

// PolicyError is the reason of a refusal that has none of the table.
const PolicyError = "PolicyError"

// Of gives the refusal of the first of some codes in the order of Refusals; that of PolicyError where none is in it.
func Of(codes ...string) Refusal {
	for _, r := range Refusals {
		if slices.Contains(codes, r.Code) {
			return r
		}
	}
	return Of(PolicyError)
}

// Known says whether a code is in the table.
func Known(code string) bool {
	return slices.ContainsFunc(Refusals, func(r Refusal) bool { return r.Code == code })
}
