package gateway

import (
	"slices"
	"time"
)

// sampleQuestions are asked of the samples, in this order. The lines were written by hand, after part 4 of the policy documents' example
// agreements and seed.sql.
func sampleQuestions() []sampleQuestion {
	return slices.Concat(policeQuestions(), companyQuestions(), careQuestions(), alarmQuestions(), figureQuestions())
}

// night is out of every agreement's hours.
var night = time.Date(2027, 1, 4, 15, 30, 0, 0, time.UTC)

func policeQuestions() []sampleQuestion {
	officer := sampleQuestion{person: "officer-1", role: "PoliceOfficer", by: "police"}
	with := func(q, more sampleQuestion) sampleQuestion {
		more.by, more.person = q.by, q.person
		if more.role == "" {
			more.role = q.role
		}
		return more
	}
	video := "purpose=PublicSafety&caseNumber=SYN-CASE-1"
	list := []sampleQuestion{
		with(officer, sampleQuestion{why: "an officer with a case number reads the county's two events, not the other city's", agreement: "a01-video", dataset: "video-elements", query: video, lines: []string{
			"clip=clip-1, division=410199001001, eventAt=2026-12-01T00:00:00+00:00, person=red coat, place=gate 1, plate=SYN-A001",
			"clip=clip-2, division=410199001002, eventAt=2026-12-02T00:00:00+00:00, person=blue coat, place=gate 2, plate=SYN-A002"}}),
		with(officer, sampleQuestion{why: "without a case number", agreement: "a01-video", dataset: "video-elements", query: "purpose=PublicSafety", refused: "CaseNumberRequired"}),
		with(officer, sampleQuestion{why: "for another purpose", agreement: "a01-video", dataset: "video-elements", query: "purpose=UrbanOperation&caseNumber=SYN-CASE-1", refused: "PurposeNotAllowed"}),
		{why: "a system of the police, with no person", agreement: "a01-video", dataset: "video-elements", by: "police", query: video, refused: "PersonRequired"},
		{why: "the property company, under the police's agreement", agreement: "a01-video", dataset: "video-elements", by: "property", person: "manager-1", role: "PropertyManager", query: video, refused: "NoAgreement"},
		with(officer, sampleQuestion{why: "a face, with a case number", agreement: "a01-face", dataset: "face-elements", query: video, lines: []string{
			"division=410199001001, eventAt=2026-12-01T00:00:00+00:00, template=SYN-TEMPLATE-1"}}),
		with(officer, sampleQuestion{why: "a face, without", agreement: "a01-face", dataset: "face-elements", query: "purpose=PublicSafety", refused: "CaseNumberRequired"}),

		{why: "the station's officer sees who rents, and four digits of the phone at most", agreement: "a02-tenants", dataset: "tenants", by: "police-station", person: "officer-2", role: "PoliceOfficer", query: "purpose=CoManagement", lines: []string{
			"compound=east, division=410199001001, movedInAt=2026-03-01, name=租户一, phone=*******0011, unit=1-101",
			"compound=west, division=410199001001, movedInAt=2026-04-01, name=租户二, phone=***, unit=2-202"}},
		{why: "the identity number is in no agreement", agreement: "a02-tenants", dataset: "tenants", by: "police-station", person: "officer-2", role: "PoliceOfficer", query: "purpose=CoManagement&fields=idNumber", refused: "FieldNotGranted NothingGranted"},

		with(officer, sampleQuestion{why: "an officer reads risks from R3 up, and no diagnosis", agreement: "a07-risk", dataset: "risk-persons", query: "purpose=PublicSafety", lines: []string{
			"address=甲址, assessedAt=2026-11-01, division=410199001001, name=某甲, riskLevel=R3"}}),
		with(officer, sampleQuestion{why: "the diagnosis", agreement: "a07-risk", dataset: "risk-persons", query: "purpose=PublicSafety&fields=diagnosis", refused: "FieldNotGranted NothingGranted"}),
		with(officer, sampleQuestion{why: "an officer in a role that is not named", agreement: "a07-risk", dataset: "risk-persons", role: "Clerk", query: "purpose=PublicSafety", refused: "RoleNotAllowed"}),
		{why: "the community's centre gets a task", agreement: "a07-tasks", dataset: "care-tasks", by: "governance", person: "handler-1", role: "CaseHandler", query: "purpose=CommunityGovernance", lines: []string{
			"address=甲址, division=410199001001, dueAt=2027-01-06, task=Visit"}},
		{why: "the property company asks for tasks", agreement: "a07-tasks", dataset: "care-tasks", by: "property", person: "manager-1", role: "PropertyManager", query: "purpose=CommunityGovernance", refused: "NoAgreement"},
	}
	return list
}

func companyQuestions() []sampleQuestion {
	manager := func(why, query, refused string, at time.Time, lines ...string) sampleQuestion {
		return sampleQuestion{why: why, agreement: "a02-visitors", dataset: "visitor-passes", by: "property", person: "manager-1", role: "PropertyManager", query: query, refused: refused, at: at, lines: lines}
	}
	return []sampleQuestion{
		manager("the manager reads passes of the own compound alone, of who consented, a child by the guardian", "purpose=CoManagement", "", time.Time{},
			"compound=east, hostUnit=1-101, plate=SYN-B001, validUntil=2027-01-05T00:00:00+00:00", "compound=east, hostUnit=1-106, plate=SYN-B006, validUntil=2027-01-05T00:00:00+00:00"),
		manager("at night", "purpose=CoManagement", "OutsideHours", night),
		manager("marketing", "purpose=Marketing", "PurposeNotAllowed", time.Time{}),

		{why: "the street sees sums of groups of ten and more, needs no person, and no owner is in it", agreement: "a03-service", dataset: "property-service", by: "town", query: "aggregate:purpose=CommunityGovernance&by=compound,kind&sum=amount", lines: []string{
			`{"by":{"compound":"east","kind":"Fee"},"count":20,"sums":{"amount":{"sum":2000,"count":20}}}`}},
		{why: "records instead of sums", agreement: "a03-service", dataset: "property-service", by: "town", query: "purpose=CommunityGovernance&fields=compound", refused: "AggregatesOnly"},
		{why: "counts by owner", agreement: "a03-service", dataset: "property-service", by: "town", query: "aggregate:purpose=CommunityGovernance&by=owner", refused: "DimensionNotGranted FieldNotGranted"},
		{why: "housing supervises what the property company looked at", agreement: "a03-audit", dataset: "property-access-log", by: "housing", query: "purpose=Audit", lines: []string{
			"accessedAt=2026-12-01T00:00:00+00:00, compound=east, division=410199001001, purpose=CoManagement, records=3"}},

		{why: "a grid worker sees flags of homes of the own grid, of elderly people alone who consented", agreement: "a04-use", dataset: "home-use-flags", by: "town", person: "worker-1", role: "GridWorker", query: "purpose=SafetyAlert", lines: []string{
			"division=410199001001, grid=grid-1, hoursSinceUse=30, household=(pseudonym), noUse=true", "division=410199001001, grid=grid-1, hoursSinceUse=1, household=(pseudonym), noUse=false"}},
		{why: "the load curve", agreement: "a04-use", dataset: "home-use-flags", by: "town", person: "worker-1", role: "GridWorker", query: "purpose=SafetyAlert&fields=loadCurve", refused: "FieldNotGranted NothingGranted"},
		{why: "somebody whom the roster has nowhere", agreement: "a04-use", dataset: "home-use-flags", by: "town", person: "worker-9", role: "GridWorker", query: "purpose=SafetyAlert"},

		{why: "the city's centre sees that a car stood there, and no plate", agreement: "a09-parking", dataset: "parking-events", by: "city-operations", person: "handler-2", role: "CaseHandler", query: "purpose=UrbanOperation", lines: []string{
			"division=410199001001, eventAt=2026-12-01T00:00:00+00:00"}},
		{why: "who drove", agreement: "a09-parking", dataset: "parking-events", by: "city-operations", person: "handler-2", role: "CaseHandler", query: "purpose=UrbanOperation&fields=person", refused: "FieldNotGranted NothingGranted"},
	}
}

func careQuestions() []sampleQuestion {
	health := func(why, query string, at time.Time, emergency, refused string, lines ...string) sampleQuestion {
		return sampleQuestion{why: why, agreement: "a05-health", dataset: "elder-health", by: "civil-affairs", person: "officer-3", role: "CivilAffairsOfficer", query: query, at: at, emergency: emergency, refused: refused, lines: lines}
	}
	one := "careLevel=2, division=410199001001, name=老人一, nextVisitAt=2027-01-08, phone=13000000051"
	overdue := health("the first use was not reviewed in time: no second", "purpose=ElderCare", night.AddDate(0, 0, 4), "老人跌倒", "BreakGlassReviewOverdue OutsideHours")
	elders := func(why, person, role, query, refused string, lines ...string) sampleQuestion {
		return sampleQuestion{why: why, agreement: "a06-elders", dataset: "difficult-elders", by: "committee", person: person, role: role, query: query, refused: refused, lines: lines}
	}
	return []sampleQuestion{
		health("an officer reads of who authorised it in writing", "purpose=ElderCare", time.Time{}, "", "", one),
		health("illness and medication are the doctor's", "purpose=ElderCare&fields=medication", time.Time{}, "", "FieldNotGranted NothingGranted"),
		health("at night", "purpose=ElderCare", night, "", "OutsideHours"),
		health("at night, in an emergency, which is written down for its review; who authorised nothing stays unread", "purpose=ElderCare", night, "老人跌倒，无人应答", "", one),
		overdue,
		{why: "the doctor sees which care was granted, by the month", agreement: "a05-services", dataset: "elder-care-services", by: "clinic", person: "doctor-1", role: "CommunityDoctor", query: "purpose=HealthCare", lines: []string{
			"division=410199001001, phone=13000000051, service=meals, startsAt=2026-11"}},

		elders("a grid worker reads the own grid", "worker-1", "GridWorker", "purpose=HomeVisit", "", "address=东区一号, division=410199001001, grid=grid-1, name=长者一, phone=13000000061, situation=LivesAlone"),
		elders("the worker of the other grid reads the other", "worker-2", "GridWorker", "purpose=HomeVisit&fields=name", "", "name=长者二"),
		elders("who works in the whole community reads it all, and also whom no grid has", "worker-4", "CommunityWorker", "purpose=SocialAssistance&fields=name", "", "name=长者一", "name=长者二", "name=长者四"),
		elders("a worker of the other community reads nobody here, and nobody there, which is not the committee's", "worker-3", "GridWorker", "purpose=HomeVisit&fields=name", ""),
		elders("a worker says another role than the roster has", "worker-1", "CommunityWorker", "purpose=HomeVisit&fields=name", ""),
		elders("a grid worker for marketing", "worker-1", "GridWorker", "purpose=Marketing", "PurposeNotAllowed"),
	}
}

func alarmQuestions() []sampleQuestion {
	alarms := func(why, number, refused string, lines ...string) sampleQuestion {
		return sampleQuestion{why: why, agreement: "a08-alarms", dataset: "hazard-alarms", by: "fire", query: "purpose=FireResponse&fields=number,community,class,state&caseNumber=" + number, refused: refused, lines: lines}
	}
	phones := func(why, number, refused string, lines ...string) sampleQuestion {
		return sampleQuestion{why: why, agreement: "a08-phones", dataset: "household-contacts", by: "fire", person: "firefighter-1", role: "FireOfficer", query: "purpose=FireResponse&caseNumber=" + number, refused: refused, lines: lines}
	}
	return []sampleQuestion{
		alarms("while an alarm of smoke is open, the brigade sees open alarms of fire and gas, and no other case", "20270104-000001", "",
			"class=fire-alarm, community=pingan, number=20270104-000001, state=Filed", "class=gas-leak, community=pingan, number=20270104-000002, state=Filed"),
		alarms("an alarm that is closed since yesterday opens nothing", "20270103-000003", "CaseNotOpen"),
		alarms("a case of another kind opens nothing", "20270104-000004", "CaseNotCovered"),
		alarms("a number that is none of the platform's", "20270104-999999", "CaseUnknown"),
		phones("while a critical case is open: whom to call", "20270104-000002", "", "address=东区一号, division=410199001001, phone=13000000081"),
		phones("the case is not critical", "20270104-000001", "CaseNotCovered"),
		{why: "a system of the brigade asks for phones", agreement: "a08-phones", dataset: "household-contacts", by: "fire", query: "purpose=FireResponse&caseNumber=20270104-000002", refused: "PersonRequired"},

		{why: "the city's centre sees faults of things in its communities, and no welfare check", agreement: "a09-facilities", dataset: "facility-events", by: "city-operations", query: "purpose=UrbanOperation&fields=number,community,class", lines: []string{
			"class=lift-fault, community=kangle, number=20270104-000005"}},
	}
}

func figureQuestions() []sampleQuestion {
	form := func(why, query, refused string, lines ...string) sampleQuestion {
		return sampleQuestion{why: why, agreement: "a11-one-form", dataset: "one-form", by: "statistics", query: query, refused: refused, lines: lines}
	}
	return []sampleQuestion{
		{why: "the street reads the one source of addresses", agreement: "a10-addresses", dataset: "addresses", by: "town", query: "purpose=MasterData", lines: []string{
			"address=东区一号, division=410199001001, parcel=P-1, placeName=平安里"}},
		{why: "for another purpose", agreement: "a10-addresses", dataset: "addresses", by: "town", query: "purpose=CommunityGovernance", refused: "PurposeNotAllowed"},

		form("the county sees figures of both communities; three homes are too few, and in no total", "aggregate:purpose=UnifiedReporting&by=indicator&sum=value", "", `{"by":{"indicator":"households"},"count":25,"sums":{"value":{"sum":25,"count":25}}}`),
		form("who stays below ten cannot be asked for by name", "aggregate:purpose=UnifiedReporting&by=indicator&where=indicator:In:disabled", ""),
		form("records", "purpose=UnifiedReporting&fields=indicator", "AggregatesOnly"),
		form("by household", "aggregate:purpose=UnifiedReporting&by=household", "DimensionNotGranted FieldNotGranted"),

		{why: "the data office pools what was registered", agreement: "a12-pooling", dataset: "social-organisations", by: "data-office", person: "clerk-1", role: "DataOfficer", query: "purpose=DataPooling&fields=name,representative", lines: []string{
			"name=社团一, representative=法人一", "name=社团二, representative=法人二"}},
		{why: "the credit centre reads listed fields alone, with no person among them", agreement: "a12-credit", dataset: "social-organisations", by: "credit-center", query: "purpose=CreditInformation", lines: []string{
			"creditCode=SYN-CODE-1, name=社团一, penalties=none", "creditCode=SYN-CODE-2, name=社团二, penalties=warned"}},
		{why: "the credit centre asks who stands for it", agreement: "a12-credit", dataset: "social-organisations", by: "credit-center", query: "purpose=CreditInformation&fields=representative", refused: "FieldNotGranted NothingGranted"},
		{why: "a city gets back what is its own", agreement: "a12-return", dataset: "pooled-civil-affairs", by: "civil-affairs", person: "officer-3", role: "CivilAffairsOfficer", query: "purpose=PublicService", lines: []string{
			"checkedAt=2026-12-01, creditCode=SYN-CODE-1, division=410199001001, name=社团一, representative=法人一"}},
	}
}
