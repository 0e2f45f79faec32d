package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/text/language"
)

// Reasons that code refers to; all of them are in refusals.
const (
	reasonNoAgreement           = "NoAgreement"
	reasonUnknownDataset        = "UnknownDataset"
	reasonUnknownOrganization   = "UnknownOrganization"
	reasonPersonInvalid         = "PersonInvalid"
	reasonQuotaExceeded         = "QuotaExceeded"
	reasonRateLimited           = "RateLimited"
	reasonStaleBundle           = "StaleBundle"
	reasonPolicyError           = "PolicyError"
	reasonLogUnavailable        = "LogUnavailable"
	reasonSourceUnavailable     = "SourceUnavailable"
	reasonCaseUnavailable       = "CaseUnavailable"
	reasonInvalidCursor         = "InvalidCursor"
	reasonInvalidRequest        = "InvalidRequest"
	reasonBreakGlassInvalid     = "BreakGlassInvalid"
	reasonBreakGlassUnavailable = "BreakGlassUnavailable"
	reasonBreakGlassUnknown     = "BreakGlassUnknown"
	reasonRoleNotAllowed        = "RoleNotAllowed"
)

// refusal is a reason with the status and the title of its problem document.
type refusal struct {
	reason string
	status int
	en, zh string
}

// refusals are all reasons, the policy's and the gateway's. They are stable: callers and the decision log rely on them. Of several the
// one that stands first gives status and title. docs/guides/reading.md has the same table.
var refusals = []refusal{
	{reasonStaleBundle, 503, "the policy is older than its lease: nothing is given out until a newer one comes", "策略已过有效期，在更新之前不提供任何数据"},
	{"GatewayOutdated", 503, "the gateway is older than the policy: nothing is given out until it is upgraded", "网关版本低于策略版本，升级之前不提供任何数据"},
	{reasonPolicyError, 503, "the policy gave no decision", "策略未能作出决定"},
	{reasonLogUnavailable, 503, "the decision cannot be logged, so nothing is given out", "无法记录访问日志，因此不提供数据"},
	{reasonSourceUnavailable, 503, "the dataset cannot be read now", "数据源暂时无法读取"},
	{reasonSourceBusy, 503, "too many read this source now: come again shortly", "该数据源当前读取者过多，请稍后再试"},
	{reasonCaseUnavailable, 503, "the case cannot be looked up now", "暂时无法核对事件编号"},
	{reasonBreakGlassUnavailable, 503, "the use of break-glass cannot be written down for its review, so nothing is given out", "无法登记应急访问以供复核，因此不提供数据"},
	{reasonRateLimited, 429, "this organisation asks too often", "本单位请求过于频繁"},
	{reasonUnknownOrganization, 401, "neither certificate nor token speaks for an organisation of this platform", "证书或令牌不代表本平台的任何单位"},
	{reasonPersonInvalid, 401, "the token in header Dizuo-Person is not valid", "Dizuo-Person 中的人员令牌无效"},
	{reasonInvalidRequest, 422, "a part of the request is not as the API describes it", "请求内容不符合接口说明"},
	{reasonInvalidFilter, 400, "a condition is not field:operator:values, or its value does not fit the field", "筛选条件格式有误，或取值与字段类型不符"},
	{reasonTooManyGroups, 422, "there are too many groups: ask for fewer dimensions", "分组过多，请减少统计维度"},
	{reasonInvalidCursor, 400, "the cursor is not one of this request", "分页游标不属于本次查询"},
	{reasonBreakGlassInvalid, 400, "header Dizuo-Break-Glass is not a percent-encoded reason of at most 500 characters", "Dizuo-Break-Glass 应为不超过 500 字、经百分号编码的理由"},
	{reasonBreakGlassUnknown, 404, "no such use of break-glass waits for a review by this organisation", "没有等待本单位复核的该次应急访问"},
	{reasonNoAgreement, 403, "there is no agreement under which this organisation may read this dataset", "没有允许本单位读取该数据集的协议"},
	{reasonUnknownDataset, 403, "there is no such dataset", "没有该数据集"},
	{"AgreementAmbiguous", 409, "several agreements may be meant: name one with the parameter agreement", "可能涉及多份协议，请用参数 agreement 指定一份"},
	{reasonQuotaExceeded, 429, "the agreement's quota for today is used up", "协议当日的配额已用完"},
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
	{reasonRoleNotAllowed, 403, "the person's role is not in the agreement", "人员岗位不在协议约定之内"},
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

// refusalOf gives the refusal of the first reason in the order of refusals; that of PolicyError for a reason that is not there.
func refusalOf(reasons []string) refusal {
	for _, r := range refusals {
		if slices.Contains(reasons, r.reason) {
			return r
		}
	}
	return refusalOf([]string{reasonPolicyError})
}

// Problem is an answer after RFC 9457.
type Problem struct {
	// Type is a URN that ends in the gravest reason.
	Type string `json:"type"`
	// Title is for people, in the language of Accept-Language.
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Reasons are stable codes, sorted.
	Reasons []string `json:"reasons"`
	// Request is the number under which the decision log holds the request.
	Request string `json:"request,omitempty"`

	retryAfter time.Duration
}

// Error implements error.
func (p *Problem) Error() string { return p.Title }

// GetStatus tells the web framework the status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType tells the web framework the media type.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders tells the web framework when to come again.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{"Vary": {"Accept-Language"}, "Cache-Control": {"no-store"}}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(p.retryAfter/time.Second)+1))
	}
	return h
}

// write sends the problem without the web framework.
func (p *Problem) write(w http.ResponseWriter) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

func problem(status int, reason, title string) *Problem {
	return &Problem{Type: "urn:dizuo:reason:" + reason, Title: title, Status: status, Reasons: []string{reason}}
}

// denied tells a refusal to the caller. Who has no agreement on a dataset learns nothing about it, not even whether it is
// there: the log keeps the difference.
func denied(reasons []string, request string) *Problem {
	if slices.Contains(reasons, reasonUnknownDataset) || slices.Contains(reasons, reasonNoAgreement) {
		reasons = []string{reasonNoAgreement}
	}
	r := refusalOf(reasons)
	p := problem(r.status, r.reason, r.en)
	p.Reasons, p.Request = reasons, request
	return p
}

var languages = language.NewMatcher([]language.Tag{language.English, language.Chinese})

// in gives the problem in the language that a caller asks for; English where it asks for none of ours.
func (p *Problem) in(accept string) *Problem {
	tags, _, _ := language.ParseAcceptLanguage(accept) // a malformed header asks for nothing
	if _, i, _ := languages.Match(tags...); i != 1 {
		return p
	}
	out := *p
	if out.Title = refusalOf([]string{strings.TrimPrefix(p.Type, "urn:dizuo:reason:")}).zh; out.Detail == "" && refusalOf(p.Reasons).en != p.Title {
		out.Detail = p.Title
	}
	return &out
}

// localised is what the web framework passes every answer through: it puts problems into the caller's language, and makes problems of
// what the framework itself refuses.
func localised(c huma.Context, _ string, v any) (any, error) {
	switch e := v.(type) {
	case *Problem:
		return e.in(c.Header("Accept-Language")), nil
	case *huma.ErrorModel:
		p := denied([]string{reasonInvalidRequest}, "")
		p.Status = e.Status
		parts := []string{}
		for _, d := range e.Errors {
			parts = append(parts, fmt.Sprintf("%s: %s", d.Location, d.Message)) // never the value, which may be personal
		}
		p.Detail = strings.Join(parts, "; ")
		return p.in(c.Header("Accept-Language")), nil
	}
	return v, nil
}

// problemResponses documents refusals.
func problemResponses(api huma.API) map[string]*huma.Response {
	problems := huma.SchemaFromType(api.OpenAPI().Components.Schemas, typeOf[Problem]())
	content := map[string]*huma.MediaType{"application/problem+json": {Schema: problems}}
	text := &huma.Schema{Type: huma.TypeInteger}
	return map[string]*huma.Response{
		"429":     {Description: "Asked too often, or the quota of the day is used up.", Content: content, Headers: map[string]*huma.Param{"Retry-After": {Description: "Seconds to wait.", Schema: text}}},
		"default": {Description: "A refusal, with reasons.", Content: content},
	}
}
