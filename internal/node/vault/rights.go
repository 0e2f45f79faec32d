package vault

import (
	"slices"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/person"
)

// Roles of persons who may call the vault. Their organisation vouches for them.
const (
	// RoleConsents writes consents down (同意登记).
	RoleConsents = "ConsentRecorder"
	// RoleRights answers residents: it is the person in charge of personal information (个人信息保护负责人, PIPL article 52).
	RoleRights = "PrivacyOfficer"
	// RoleAuditor checks the vault's chain, for the data office.
	RoleAuditor = "Auditor"
	// RoleResident is a resident: the subject of the token is their subject in the vault. They read who read of them, and of those whom
	// they speak for, and no more.
	RoleResident = "Resident"
	// RoleSteward keeps a dataset and does the tasks about it.
	RoleSteward = "DataSteward"
)

// act is what somebody asks the vault for; the line in the log has it as its reason.
type act string

// Acts.
const (
	actGive     act = "ConsentGiven"
	actWithdraw act = "ConsentWithdrawn"
	actConsents act = "ConsentsRead"
	actRegister act = "SubjectRegistered"
	actLookup   act = "SubjectLookedUp"
	actAccess   act = "SubjectAccess"
	actCorrect  act = "SubjectCorrection"
	actErase    act = "SubjectErased"
	actTasks    act = "TasksRead"
	actDone     act = "TaskDone"
	actLog      act = "LogRead"
	actLink     act = "KeysLinked"
)

// may says whether a person may do an act at all: residents turn to their committee, the street or town above it, or the city's data
// office. A company, a property company above all, may not ask who somebody is, whatever role it gives its people.
func may(who person.Identity, o contract.Organization, a act) bool {
	switch a {
	case actTasks, actDone, actLink:
		return who.Role == RoleSteward || who.Role == RoleRights
	case actLog:
		return who.Role == RoleAuditor && o.Type == "DataOffice"
	case actGive, actWithdraw, actConsents:
		return (who.Role == RoleConsents || who.Role == RoleRights) && slices.Contains([]string{"Committee", "Township", "DataOffice"}, o.Type)
	case actAccess:
		return (who.Role == RoleResident || who.Role == RoleRights) && slices.Contains([]string{"Committee", "Township", "DataOffice"}, o.Type)
	case actRegister, actLookup, actCorrect, actErase:
		return who.Role == RoleRights && slices.Contains([]string{"Committee", "Township", "DataOffice"}, o.Type)
	}
	return false
}

// answersFor says whether an organisation answers for who lives in a division. One who has no division here is the data office's.
func answersFor(o contract.Organization, division string) bool {
	if division == "" {
		return o.Type == "DataOffice"
	}
	return o.Covers(division) > 0
}
