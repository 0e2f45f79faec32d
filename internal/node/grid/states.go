package grid

import (
	"fmt"
	"slices"
	"strings"
)

// State of a case.
type State string

// States of a case, with the names that the field uses.
const (
	Reported   State = "Reported"   // 上报
	NotFiled   State = "NotFiled"   // 不予立案
	Filed      State = "Filed"      // 立案
	Dispatched State = "Dispatched" // 派遣
	Handling   State = "Handling"   // 处置
	Returned   State = "Returned"   // 退回
	Extended   State = "Extended"   // 延期
	Suspended  State = "Suspended"  // 挂账
	Verifying  State = "Verifying"  // 核查
	Closed     State = "Closed"     // 结案
	Rated      State = "Rated"      // 评价
	Void       State = "Void"       // 误报
	Reopened   State = "Reopened"   // 重新立案
)

// ChineseName gives the name that people see.
func (s State) ChineseName() string { return chineseStates[s] }

var chineseStates = map[State]string{
	Reported: "上报", NotFiled: "不予立案", Filed: "立案", Dispatched: "派遣", Handling: "处置", Returned: "退回", Extended: "延期",
	Suspended: "挂账", Verifying: "核查", Closed: "结案", Rated: "评价", Void: "误报", Reopened: "重新立案",
}

// Open reports whether work on the case is still to be done. A column of the table cases says the same.
func (s State) Open() bool { return !slices.Contains([]State{NotFiled, Closed, Rated, Void}, s) }

// Action moves a case.
type Action string

// Actions on a case.
const (
	File                Action = "File"                // 立案
	Decline             Action = "Decline"             // 不予立案
	Dispatch            Action = "Dispatch"            // 派遣
	Reassign            Action = "Reassign"            // 改派; by its own operation, which says to whom
	Acknowledge         Action = "Acknowledge"         // 接单
	Arrive              Action = "Arrive"              // 到场
	Handle              Action = "Handle"              // 处置
	Return              Action = "Return"              // 退回
	Extend              Action = "Extend"              // 延期
	Suspend             Action = "Suspend"             // 挂账
	Resume              Action = "Resume"              // 恢复处置
	RequestVerification Action = "RequestVerification" // 申请核查
	Verify              Action = "Verify"              // 核查通过
	Rework              Action = "Rework"              // 核查不通过
	Close               Action = "Close"               // 结案
	Rate                Action = "Rate"                // 评价
	MarkVoid            Action = "Void"                // 误报
	Reopen              Action = "Reopen"              // 重新立案
)

// Role of who acts, as a person's token says.
type Role string

// Roles that the grid service knows.
const (
	// RoleSystem is the engine itself; no token can name it.
	RoleSystem          Role = ""
	RoleGridWorker      Role = "GridWorker"      // 网格员
	RoleCommunityWorker Role = "CommunityWorker" // 社区工作者
	RoleDispatcher      Role = "Dispatcher"      // 派单员
	RoleCommander       Role = "Commander"       // 指挥员, one-key responses and the mode
	RoleAuditor         Role = "Auditor"         // 审计员, reads only
	RoleResident        Role = "Resident"        // 居民, reports only
	RoleHotline         Role = "Hotline"         // 12345 话务员, reports only
	// RoleOrganizationSystem is a system of an organisation, known by its certificate; no token can name it.
	RoleOrganizationSystem Role = "System"
	// RoleOrigin is the system that a case comes from, over the exchange; no token can name it.
	RoleOrigin     Role = "Origin"
	RoleTechnician Role = "Technician" // 运维人员 of a vendor, sends commands to its devices only
)

// transition is a row of the table: an action leads from some states to one.
type transition struct {
	from  []State
	to    State // empty: the state stays
	roles []Role
}

var (
	everyone = []Role{RoleGridWorker, RoleCommunityWorker, RoleDispatcher, RoleOrganizationSystem}
	office   = []Role{RoleSystem, RoleCommunityWorker, RoleDispatcher}
	// handlers and origin are they and the system that the case comes from.
	handlers = append([]Role{RoleOrigin}, everyone...)
	origin   = append([]Role{RoleOrigin}, office...)
)

// transitions is the life of a case. The engine and the API both ask it and nothing else.
var transitions = map[Action]transition{
	File:                {[]State{Reported}, Filed, office},
	Decline:             {[]State{Reported}, NotFiled, origin},
	Dispatch:            {[]State{Filed, Dispatched, Returned, Reopened}, Dispatched, office},
	Reassign:            {[]State{Filed, Dispatched, Handling, Returned, Extended, Reopened}, Dispatched, []Role{RoleCommunityWorker, RoleDispatcher}},
	Acknowledge:         {[]State{Dispatched}, Handling, handlers},
	Arrive:              {[]State{Handling, Extended}, "", handlers},
	Handle:              {[]State{Handling, Extended}, "", handlers},
	Return:              {[]State{Dispatched, Handling}, Returned, handlers},
	Extend:              {[]State{Handling}, Extended, office},
	Suspend:             {[]State{Handling, Extended}, Suspended, office},
	Resume:              {[]State{Extended, Suspended}, Handling, origin},
	RequestVerification: {[]State{Handling, Extended}, Verifying, handlers},
	Verify:              {[]State{Verifying}, "", handlers},
	Rework:              {[]State{Verifying}, Handling, handlers},
	Close:               {[]State{Verifying}, Closed, handlers},
	Rate:                {[]State{Closed}, Rated, append([]Role{RoleResident}, origin...)}, // residents by their receipt
	Reopen:              {[]State{Closed, Rated, Void}, Reopened, origin},
	MarkVoid:            {[]State{Reported, Filed, Dispatched, Handling, Returned, Extended, Suspended, Verifying, Reopened}, Void, append([]Role{RoleSystem}, handlers...)},
}

// reworked is what the service does itself with a closed case that was rated badly: nobody else takes it up like that.
var reworked = transition{[]State{Rated}, Handling, []Role{RoleSystem}}

// ErrRole says that a role may not do an action at all.
type ErrRole struct {
	Action Action
	Role   Role
}

// Error says what is not allowed.
func (e ErrRole) Error() string { return fmt.Sprintf("role %q may not do %s", e.Role, e.Action) }

// Next gives the state to which an action by a role leads. The error says which actions the state allows, or that the role
// may not act.
func Next(s State, a Action, by Role) (State, error) {
	t, ok := transitions[a]
	if a == Rework && by == RoleSystem {
		t = reworked
	}
	if !ok {
		return s, fmt.Errorf("action %q is unknown; a case that is %s takes %s", a, s, actions(s))
	}
	if !slices.Contains(t.roles, by) {
		return s, ErrRole{a, by}
	}
	if !slices.Contains(t.from, s) {
		return s, fmt.Errorf("action %s does not fit a case that is %s (%s); it takes %s", a, s, s.ChineseName(), actions(s))
	}
	if t.to == "" {
		return s, nil
	}
	return t.to, nil
}

// actions lists what a state takes, sorted.
func actions(s State) string {
	var names []string
	for a, t := range transitions {
		if slices.Contains(t.from, s) {
			names = append(names, string(a))
		}
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
