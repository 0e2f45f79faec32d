# METADATA
# title: Who may read what
# description: |
#   This file decides every request to read a dataset. It is fixed: agreements are data, not policy, so this text is
#   reviewed once and stays.
#
#   How to read it. The rule `decision` is the whole law of the gateway: a request is allowed when every sentence in it
#   holds. Each sentence is stated once, in its positive form ("it is proven that ..."), as a function of its own below. A
#   missing or malformed fact proves nothing, so it refuses and never permits. Keep it so: in Rego `not x in y` is silently
#   skipped, not true, when y is missing. Each rule named `reasons` gives a code to one sentence that does NOT hold; the codes
#   explain a refusal and open nothing.
#
#   What it looks at:
#     input                 one request (see contract.DecisionInput): dataset, consumer (the organisation that asks),
#                           agreement, fields, filter, purpose, case, person, clearance, the local clock, an emergency, now
#                           (Unix seconds; policy has no clock of its own) and contract (what the gateway enforces)
#     data.dizuo.datasets   the sharing list (信息共享清单), by dataset
#     data.dizuo.grants     agreements in the list of the signed bundle, by dataset, consumer and agreement
#
#   What it never does: read all agreements (only those of this dataset with this consumer), add up two agreements (one
#   request uses exactly one), or look at the data itself (the gateway pushes masks and rows into the query). The quota is
#   counted by the gateway after this decision: counting needs a memory.
#
#   A dataset with sharing attribute "Unconditional" (无条件共享) still needs an agreement here. The attribute says that a
#   department may not refuse to share; it does not say who reads, which rows, and for what. That choice is ours.
package dizuo.access

# METADATA
# title: The answer
# description: |
#   Allowed when every sentence holds, and then with the fields, their masks and the row scope of the one agreement that was
#   used. If a fact that the answer needs is missing, the default stands: refused.
# entrypoint: true
default decision := {"allow": false, "reasons": ["PolicyError"]}

decision := {
	"allow": true,
	"reasons": [],
	"agreement": name,
	"role": role,
	"fields": fields,
	"rows": agreed.rows,
	"consentScope": scope,
	"smallCell": small_cell,
	"breakGlass": emergency,
} if {
	name := agreement
	about := data.dizuo.datasets[input.dataset]
	agreed := data.dizuo.grants[input.dataset][input.consumer][name]

	# Which agreement, from when to when, and what for.
	input.contract >= 3 # what the gateway enforces, see `enforced`
	about.sharing in {"Unconditional", "Conditional"} # 无条件共享, 有条件共享
	input.now >= agreed.notBefore
	not_ended(agreed)
	input.purpose in agreed.purposes

	# What.
	wanted := asked(agreed, about)
	fields := returned(agreed, about, wanted)
	object.keys(fields) == wanted # each field asked for is given
	leaving := leaves(fields)
	small_cell := smallest_group(agreed, fields, leaving)
	cleared(about, leaving)
	scope_enforceable(agreed, about, leaving)
	scope := consent(agreed, about)

	# Who, and in which circumstances.
	emergency := is_emergency(agreed)
	role := acts_as(agreed, about, leaving, emergency)
} else := {
	"allow": false,
	"reasons": sort(reasons),
	"agreement": agreement,
} if {
	count(reasons) > 0
}

# METADATA
# title: The dataset asked for
dataset := data.dizuo.datasets[input.dataset]

# METADATA
# title: Agreements of this consumer on this dataset
# description: Only read when the request names none. These are the agreements between two parties on one thing.
between := data.dizuo.grants[input.dataset][input.consumer] if object.get(input, "agreement", "") == ""

# METADATA
# title: Agreements that fit
# description: In force at the time of the request, and for the purpose that it claims.
fitting := [name |
	some name, candidate in between
	input.now >= candidate.notBefore
	not_ended(candidate)
	input.purpose in candidate.purposes
]

# METADATA
# title: The name of the agreement that is used
# description: |
#   The one that the request names, and no other; else the only one that fits; else, if none fits, the only one there is, so that
#   the refusal can say what is wrong with it. An empty name means none.
default agreement := ""

agreement := input.agreement if {
	input.agreement
	not input.agreement == ""
} else := fitting[0] if {
	count(fitting) == 1
} else := name if {
	count(fitting) == 0
	count(between) == 1
	some name, _ in between
}

# METADATA
# title: The agreement that is used
grant := data.dizuo.grants[input.dataset][input.consumer][agreement]

# METADATA
# title: The gateway enforces what this text relies on
# description: |
#   Rows, masks and consent are enforced by the gateway, in the query. One that is older than this bundle would not know a limit and
#   so not keep it. The number is contract.ContractVersion; a gateway from before there was one gives none.
enforced if input.contract >= 3

# METADATA
# title: The agreement has not ended
# description: The last second of validity is the one before notAfter. 0 means that no end was agreed.
not_ended(agreed) if agreed.notAfter == 0

not_ended(agreed) if input.now < agreed.notAfter

# METADATA
# title: The names of the fields asked for
# description: |
#   A request for records that names no fields asks for all that the agreement gives and the dataset has. One for counts and sums
#   asks for what it groups by, sums and picks by, and for nothing else.
asked(agreed, about) := {name | some name in input.fields} if {
	input.fields != []
	not input.aggregate
} else := {name | some name, _ in agreed.fields; about.fields[name]} if {
	not input.aggregate
} else := ({name | some name in input.aggregate.by} | {name | some name in input.aggregate.sum}) | {condition.field |
	some condition in input.filter
}

# METADATA
# title: The fields returned, each with its mask
# description: Fields under the mask Drop stay in this list so that the answer can say that they were dropped.
returned(agreed, about, wanted) := {name: agreed.fields[name] |
	some name in wanted
	about.fields[name]
}

# METADATA
# title: The fields of which something leaves
leaves(fields) := {name | some name, mask in fields; not mask.method == "Drop"}

# METADATA
# title: The agreement gives what is asked for in this form, in groups no smaller than this
# description: |
#   Records, unless it gives nothing but counts and sums, picked by fields that it gives as they are; something of them must leave.
#   Those are no groups: 0. Counts and sums, where it has a smallest group, by its dimensions and of its measures alone. Groups that are
#   too small are left out by the gateway, in the query. A count alone leaves no field, and is something.
smallest_group(agreed, fields, leaving) := 0 if {
	not input.aggregate
	leaving != set()
	records_given(agreed)
	filter_given(fields)
}

smallest_group(agreed, _, _) := agreed.aggregates.smallCell if {
	input.aggregate
	counts_given(agreed)
	dimensions_given(agreed)
	measures_given(agreed)
}

# METADATA
# title: The agreement gives single records
records_given(agreed) if not agreed.aggregates

records_given(agreed) if object.get(agreed.aggregates, "only", false) == false

# METADATA
# title: The agreement gives counts and sums
counts_given(agreed) if agreed.aggregates.smallCell > 1

# METADATA
# title: Every field that is grouped by, or picked by, is a dimension of the agreement
dimensions_given(agreed) if {
	dimensions := object.get(agreed.aggregates, "dimensions", [])
	every name in object.get(input.aggregate, "by", []) { name in dimensions }
	every condition in object.get(input, "filter", []) {
		condition.field in dimensions
		condition.operator == "In"
	}
}

# METADATA
# title: Every field that is summed is a measure of the agreement
measures_given(agreed) if {
	measures := object.get(agreed.aggregates, "measures", [])
	every name in object.get(input.aggregate, "sum", []) { name in measures }
}

# METADATA
# title: The request picks by fields that it is given as they are
# description: |
#   Who may pick by a masked field learns its value by asking often enough: is the year before 1950, before 1945, and so on. Fields
#   of counts and sums are another matter: those are picked from groups that are told anyhow.
filter_given(_) if not input.filter

filter_given(fields) if {
	every condition in input.filter { object.get(fields[condition.field], "method", "") == "" }
}

# METADATA
# title: The organisation may be given data of this class
# description: |
#   Ours, after the platform's grading (分类分级): by what each field that leaves says of a person, and by the category of the dataset.
#   Public data is class C0, ordinary personal information C1, sensitive C2, biometric C3. A field that is not marked counts as C3.
#   Pseudonyms and coarser values keep the class: only what does not leave has none. The clearance is the platform's word on the
#   organisation; one without clearance is given what is public.
cleared(about, leaving) if {
	clearance := object.get(input, "clearance", "C0")
	category_cleared(about.category, clearance)
	fields_cleared(about, leaving, clearance)
}

# METADATA
# title: The clearance covers the category of the dataset
# description: |
#   Health, minors, finance and locations are class C2 whatever the fields. Key populations, biometrics, video and a category that
#   nobody knows are C3.
category_cleared(_, "C3")

category_cleared(category, "C2") if category in {"Ordinary", "Health", "Minor", "Financial", "Location"}

category_cleared("Ordinary", clearance) if clearance in {"C0", "C1"}

# METADATA
# title: The clearance covers each field that leaves
fields_cleared(_, _, "C3")

fields_cleared(about, leaving, clearance) if {
	marks := {
		"C0": {"None"},
		"C1": {"None", "Ordinary"},
		"C2": {"None", "Ordinary", "Sensitive"},
	}[clearance]
	{name | some name in leaving; marks[about.fields[name].personal]} == leaving
}

# METADATA
# title: Personal information leaves
# description: |
#   Unless every field that leaves is marked as not personal. A pseudonym is personal information still: whoever holds the key can
#   undo it (PIPL Article 73 calls that de-identified, not anonymous). Counts of groups that are large enough are not.
is_personal(about, leaving) if {
	not input.aggregate
	{name | some name in leaving; about.fields[name].personal == "None"} != leaving
}

# METADATA
# title: A person must be shown
# description: |
#   Personal information is read by a person in a role, never by an organisation at large. That rule is ours. Rows that follow the
#   roster follow a person too.
needs_person(_, about, leaving) if is_personal(about, leaving)

needs_person(agreed, _, _) if agreed.personRequired

needs_person(agreed, _, _) if agreed.rows.roster

# METADATA
# title: A person was shown where one must be
person_shown(_, _, _) if input.person.subject != ""

person_shown(agreed, about, leaving) if not needs_person(agreed, about, leaving)

# METADATA
# title: The roles in which the person may act here
# description: Roles of the person that the agreement names; in an emergency those of them that it names for emergencies.
acting_roles(agreed, false) := {r | some r in input.person.roles; r in agreed.roles}

acting_roles(agreed, true) := {r | some r in input.person.roles; r in agreed.roles; r in agreed.breakGlass.roles}

# METADATA
# title: The role in which it is allowed
# description: |
#   A person is shown and acts in a role that the agreement names: the first by its name, if there are several. Else nobody needs to be
#   shown, and it is no emergency; a role that the agreement names is told then too, and empty means none.
acts_as(agreed, about, leaving, emergency) := min(acting_roles(agreed, emergency)) if {
	input.person.subject != ""
} else := first(acting_roles(agreed, false)) if {
	emergency == false
	not needs_person(agreed, about, leaving)
}

# METADATA
# title: The first of some roles by its name, or empty if there is none
first(roles) := min(roles)

first(set()) := ""

# METADATA
# title: The row scope can be enforced
# description: |
#   The scope is a list of places. A table that does not say where a row belongs is read whole, which is right for a list of place
#   names and wrong for anything about people or for an agreement that names places.
scope_enforceable(agreed, about, _) if {
	placed(about)
	not agreed.rows.grids
	not agreed.rows.compounds
}

scope_enforceable(agreed, about, _) if {
	placed(about)
	every part, column in {"grids": "gridColumn", "compounds": "compoundColumn"} { narrowed_by(agreed, about, part, column) }
}

scope_enforceable(agreed, about, leaving) if {
	not placed(about)
	not is_personal(about, leaving)
	object.get(about.source, "subjectColumn", "") == ""
	object.filter(agreed.rows, ["communities", "grids", "compounds", "roster"]) == {}
}

# METADATA
# title: The table says in which community or division a row lies
placed(about) if about.source.divisionColumn != ""

placed(about) if about.source.communityColumn != ""

# METADATA
# title: The table has the column by which the agreement narrows, if it does
narrowed_by(agreed, _, part, _) if not agreed.rows[part]

narrowed_by(_, about, _, column) if about.source[column] != ""

# METADATA
# title: The consent that each person must have given
# description: |
#   That of the dataset; else that of the agreement, where its legal basis is a consent. Empty means none. A table that does not say
#   about whom a row is cannot be held against consents.
consent(agreed, about) := "" if {
	not about.consentScope
	not agreed.consentScope
} else := consent_scope(agreed, about) if {
	about.source.subjectColumn != ""
}

# METADATA
# title: The scope of that consent
consent_scope(agreed, about) := about.consentScope if {
	about.consentScope != ""
} else := agreed.consentScope

# METADATA
# title: The circumstances are those of the agreement
# description: |
#   Hours and case: what an emergency may do without. Everything else in this file stands in an emergency too.
circumstances(agreed) if {
	not agreed.hours # nothing was agreed about them
	not agreed.case
	not agreed.caseNumber
	not agreed.caseNumberRequired
}

circumstances(agreed) if {
	hours_kept(agreed)
	case_numbered(agreed)
	case_number_right(agreed)
	case_found(agreed)
	case_open(agreed)
	case_covered(agreed)
}

# METADATA
# title: It is within the agreed hours
# description: In the platform's time zone. The first minute counts, the last does not. Hours may run over midnight.
hours_kept(agreed) if not agreed.hours

hours_kept(agreed) if {
	within_hours(agreed.hours)
	on_working_day(agreed.hours)
}

# METADATA
# title: The clock is between two minutes of the day
within_hours(hours) if {
	hours.from < hours.to
	input.clock.minute >= hours.from
	input.clock.minute < hours.to
}

within_hours(hours) if {
	hours.from >= hours.to
	input.clock.minute >= hours.from
}

within_hours(hours) if {
	hours.from >= hours.to
	input.clock.minute < hours.to
}

# METADATA
# title: It is a working day, where the agreement asks for one
on_working_day(hours) if object.get(hours, "workingDaysOnly", false) == false

on_working_day(_) if input.clock.workingDay == true

# METADATA
# title: The agreement asks for a case
asks_for_case(agreed) if agreed.caseNumberRequired

asks_for_case(agreed) if agreed.case

asks_for_case(agreed) if agreed.caseNumber != ""

# METADATA
# title: A case number was given
case_named if trim_space(input.case.number) != ""

# METADATA
# title: The case number that the agreement asks for was given, or it asks for none
case_numbered(agreed) if not asks_for_case(agreed)

case_numbered(_) if case_named

# METADATA
# title: The case number is the one that the agreement is for
# description: A wrong number is wrong in an emergency too. One that is missing is the matter of another sentence.
case_number_right(agreed) if object.get(agreed, "caseNumber", "") == ""

case_number_right(_) if not case_named

case_number_right(agreed) if input.case.number == agreed.caseNumber

# METADATA
# title: The case is one of ours, or one of others that nobody here can check
# description: |
#   A number of the platform's form must be a case of the platform. A foreign number is taken as it is and logged as unverified,
#   but not where the agreement is about cases of the platform.
case_found(agreed) if not asks_for_case(agreed)

case_found(_) if not case_named

case_found(_) if ours

case_found(agreed) if {
	input.case.origin == "Foreign"
	not agreed.case
}

# METADATA
# title: The case is open, or was closed so shortly ago that reading goes on
case_open(agreed) if not asks_for_case(agreed)

case_open(_) if not ours

case_open(_) if input.case.open == true

case_open(agreed) if input.now < input.case.closedAt + object.get(agreed.case, "graceSeconds", 0)

# METADATA
# title: A case of the platform is named
ours if input.case.origin == "Platform"

# METADATA
# title: The case is of the class, the severity and the place that the agreement is for
case_covered(agreed) if not asks_for_case(agreed)

case_covered(_) if not ours

case_covered(agreed) if {
	class_covered(agreed)
	severity_covered(agreed)
	place_covered(agreed)
}

# METADATA
# title: The case is of a class that the agreement names, or it names none
class_covered(agreed) if not agreed.case.classes

class_covered(agreed) if input.case.class in agreed.case.classes

# METADATA
# title: The case is grave enough
severity_covered(agreed) if not agreed.case

severity_covered(agreed) if severities[input.case.severity] >= severities[agreed.case.minSeverity]

# METADATA
# title: Ranks of severities
severities := {"Low": 0, "Medium": 1, "High": 2, "Critical": 3}

# METADATA
# title: The case happened where the agreement reaches
# description: |
#   A case elsewhere opens nothing. One within reach opens all that the agreement reaches, also of other communities: an agreement
#   that is to open no more than the place of a case names that community alone.
place_covered(agreed) if {
	some division in agreed.rows.divisions
	startswith(input.case.division, division)
	community_covered(agreed)
}

# METADATA
# title: The case happened in a community that the agreement names, or it names none
community_covered(agreed) if not agreed.rows.communities

community_covered(agreed) if input.case.community in agreed.rows.communities

# METADATA
# title: It is an emergency (破窗)
# description: |
#   Only where the circumstances are not those of the agreement and break-glass opens them. The reviewer is alerted, and reviews each
#   use.
is_emergency(agreed) := false if {
	circumstances(agreed)
} else if {
	break_glass_opens(agreed)
}

# METADATA
# title: Break-glass opens what the circumstances close
# description: |
#   The agreement has it, a reason is given, the person's role is named for it, no earlier use waits for its review beyond the time
#   agreed, and a case number, if any is given, is not the wrong one.
break_glass_opens(agreed) if {
	agreed.breakGlass
	reason_given
	reviewed
	emergency_person(agreed)
	case_number_right(agreed)
}

# METADATA
# title: The person may break the glass
emergency_person(agreed) if {
	input.person.subject != ""
	count(acting_roles(agreed, true)) > 0
}

# METADATA
# title: A reason for the emergency was given
reason_given if trim_space(input.breakGlass.reason) != ""

# METADATA
# title: No earlier emergency waits for its review too long
reviewed if object.get(input.breakGlass, "overdue", false) == false

# METADATA
# title: The gateway is older than the policy
reasons contains "GatewayOutdated" if not enforced

# METADATA
# title: There is no such dataset
reasons contains "UnknownDataset" if not dataset

# METADATA
# title: The dataset is not shared
# description: Sharing attribute 不予共享. No agreement can open it.
reasons contains "SharingNone" if {
	dataset
	not is_shared
}

# METADATA
# title: The dataset is shared
is_shared if dataset.sharing in {"Unconditional", "Conditional"}

# METADATA
# title: No agreement
# description: There is no agreement on this dataset with this organisation, or none of the name that the request gives.
reasons contains "NoAgreement" if {
	not grant
	not ambiguous
}

# METADATA
# title: More than one agreement fits
ambiguous if count(fitting) > 1

# METADATA
# title: None fits, and there are several that do not
# description: The request must name the one it means, to learn why that one does not fit.
ambiguous if {
	count(fitting) == 0
	count(between) > 1
}

# METADATA
# title: The request must name its agreement
reasons contains "AgreementAmbiguous" if ambiguous

# METADATA
# title: The agreement has begun
# description: The first second of validity counts. 0 means that no beginning was agreed.
begun if input.now >= grant.notBefore

# METADATA
# title: The agreement has not begun
reasons contains "NotYetValid" if {
	grant
	not begun
}

# METADATA
# title: The agreement has ended
reasons contains "Expired" if {
	grant
	not not_ended(grant)
}

# METADATA
# title: The purpose is in the agreement
purpose_agreed if input.purpose in grant.purposes

# METADATA
# title: The purpose is not in the agreement
# description: The purpose is what the organisation claims, and is logged as claimed.
reasons contains "PurposeNotAllowed" if {
	grant
	not purpose_agreed
}

# METADATA
# title: Dataset and agreement are there, for the reasons below
known if {
	grant
	dataset
}

# METADATA
# title: The fields that the request is about, for the reasons below
picked := returned(grant, dataset, asked(grant, dataset))

# METADATA
# title: The fields of which something leaves, for the reasons below
going := leaves(picked)

# METADATA
# title: A field was asked for that the agreement does not give or the dataset does not have
reasons contains "FieldNotGranted" if {
	known
	some name in asked(grant, dataset)
	not picked[name]
}

# METADATA
# title: Nothing would leave
# description: The agreement gives no field of this dataset, or drops all of those asked for.
reasons contains "NothingGranted" if {
	known
	not input.aggregate
	going == set()
}

# METADATA
# title: The agreement gives nothing but counts and sums, and records were asked for
reasons contains "AggregatesOnly" if {
	grant
	not input.aggregate
	not records_given(grant)
}

# METADATA
# title: The agreement gives no counts and sums
reasons contains "AggregatesNotGranted" if {
	grant
	input.aggregate
	not counts_given(grant)
}

# METADATA
# title: It was asked to group by a field, or to pick by one, that is no dimension of the agreement
reasons contains "DimensionNotGranted" if {
	counts_given(grant)
	input.aggregate
	not dimensions_given(grant)
}

# METADATA
# title: It was asked to sum a field that is no measure of the agreement
reasons contains "MeasureNotGranted" if {
	counts_given(grant)
	input.aggregate
	not measures_given(grant)
}

# METADATA
# title: It was asked to pick by a field that is not given, or is masked
reasons contains "FilterNotGranted" if {
	known
	not input.aggregate
	not filter_given(picked)
}

# METADATA
# title: The data is of a higher class than the organisation may be given
reasons contains "ClearanceTooLow" if {
	known
	not cleared(dataset, going)
}

# METADATA
# title: The row scope cannot be enforced on this dataset
reasons contains "RowScopeUnenforceable" if {
	known
	not scope_enforceable(grant, dataset, going)
}

# METADATA
# title: Consent is needed and cannot be looked up on this dataset
reasons contains "ConsentUnenforceable" if {
	known
	not consent(grant, dataset)
}

# METADATA
# title: A person must be shown and was not
reasons contains "PersonRequired" if {
	known
	not person_shown(grant, dataset, going)
}

# METADATA
# title: The person's role is not in the agreement
reasons contains "RoleNotAllowed" if {
	known
	needs_person(grant, dataset, going)
	input.person.subject != ""
	count(acting_roles(grant, false)) == 0
}

# METADATA
# title: The case number is another than the agreement is for
reasons contains "CaseNumberMismatch" if {
	grant
	not case_number_right(grant)
}

# METADATA
# title: Hours or case are not those of the agreement, and it is no emergency
reasons contains code if {
	grant
	not break_glass_opens(grant)
	some code in unmet
}

# METADATA
# title: It is outside the agreed hours
unmet contains "OutsideHours" if not hours_kept(grant)

# METADATA
# title: A case number must be given and was not
unmet contains "CaseNumberRequired" if not case_numbered(grant)

# METADATA
# title: There is no such case on the platform
unmet contains "CaseUnknown" if not case_found(grant)

# METADATA
# title: The case is closed
unmet contains "CaseNotOpen" if not case_open(grant)

# METADATA
# title: The case is of another class, severity or place than the agreement is for
unmet contains "CaseNotCovered" if not case_covered(grant)

# METADATA
# title: An emergency is claimed that the agreement does not provide for
reasons contains "BreakGlassNotGranted" if {
	claimed
	not grant.breakGlass
}

# METADATA
# title: An emergency is claimed without a reason
reasons contains "BreakGlassReasonRequired" if {
	claimed
	not reason_given
}

# METADATA
# title: An emergency is claimed by somebody whose role is not named for it
reasons contains "BreakGlassRoleNotAllowed" if {
	claimed
	grant.breakGlass
	not emergency_person(grant)
}

# METADATA
# title: An earlier emergency was not reviewed in time
reasons contains "BreakGlassReviewOverdue" if {
	claimed
	not reviewed
}

# METADATA
# title: An emergency is claimed, and needed
claimed if {
	grant
	input.breakGlass
	count(unmet) > 0
}
