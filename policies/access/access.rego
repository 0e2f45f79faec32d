# METADATA
# title: Who may read what
# description: |
#   This file decides every request to read a dataset. It is fixed: agreements are data, not policy, so this text is
#   reviewed once and stays.
#
#   How to read it. A request is refused unless every sentence below holds. Each rule named `reasons` states one sentence
#   that does NOT hold and gives it a code; the request is allowed only when no such code was found. Every sentence is
#   tested in its positive form, as a rule of its own ("it is proven that ..."), so a missing or malformed fact refuses
#   and never permits. Keep it so: in Rego `not x in y` is silently skipped, not true, when y is missing.
#
#   What it looks at:
#     input                 one request (see contract.DecisionInput): dataset, consumer (the organisation whose key made the
#                           connection), agreement, fields, purpose, case, person, now (Unix seconds; policy has no clock
#                           of its own) and contract (what the gateway enforces)
#     data.dizuo.datasets   the sharing list (信息共享清单), by dataset
#     data.dizuo.grants     agreements in the list of the signed bundle, by dataset, consumer and agreement
#
#   What it never does: read all agreements (only those of this dataset with this consumer), add up two agreements (one
#   request uses exactly one), or look at the data itself (the gateway pushes masks and rows into the query).
#
#   A dataset with sharing attribute "Unconditional" (无条件共享) still needs an agreement here. The attribute says that a
#   department may not refuse to share; it does not say who reads, which rows, and for what. That choice is ours.
package dizuo.access

# METADATA
# title: The answer
# description: |
#   Allowed when no reason was found, and then with the fields, their masks and the row scope of the one agreement that was
#   used. If a fact that the answer needs is missing, the default stands: refused.
# entrypoint: true
default decision := {"allow": false, "reasons": ["PolicyError"]}

decision := {
	"allow": true,
	"reasons": [],
	"agreement": agreement,
	"fields": returned,
	"rows": grant.rows,
} if {
	count(reasons) == 0
}

decision := {
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
# title: The agreement that was named
# description: A request that names an agreement is decided by that one and by no other.
named if input.agreement != ""

# METADATA
# title: Agreements of this consumer on this dataset
# description: Only read when the request names none. These are the agreements between two parties on one thing.
between := data.dizuo.grants[input.dataset][input.consumer] if not named

# METADATA
# title: Agreements that fit
# description: In force at the time of the request, and for the purpose that it claims.
fitting := [name |
	some name, candidate in between
	begun(candidate)
	not_ended(candidate)
	input.purpose in candidate.purposes
]

# METADATA
# title: The dataset is shared
# description: Sharing attribute 无条件共享 or 有条件共享.
shared if dataset.sharing in {"Unconditional", "Conditional"}

# METADATA
# title: The name of the agreement that is used
# description: |
#   The one that the request names; else the only one that fits; else, if none fits, the only one there is, so that the
#   refusal can say what is wrong with it. An empty name means none.
default agreement := ""

agreement := input.agreement if named

agreement := fitting[0] if count(fitting) == 1

agreement := name if {
	count(fitting) == 0
	count(between) == 1
	some name, _ in between
}

# METADATA
# title: The agreement that is used
grant := data.dizuo.grants[input.dataset][input.consumer][agreement]

# METADATA
# title: The names of the fields asked for
# description: A request that names no fields asks for all that the agreement gives and the dataset has.
asked := input.fields if count(input.fields) > 0

asked := [name |
	some name, _ in grant.fields
	dataset.fields[name]
] if {
	count(object.get(input, "fields", [])) == 0
}

# METADATA
# title: The fields returned, each with its mask
# description: Fields under the mask Drop stay in this list so that the answer can say that they were dropped.
returned := {name: grant.fields[name] |
	some name in asked
	dataset.fields[name]
}

# METADATA
# title: The fields of which something leaves
leaving contains name if {
	some name, mask in returned
	object.get(mask, "method", "") != "Drop"
}

# METADATA
# title: Personal information leaves
# description: |
#   True unless every field that leaves is marked as not personal. A pseudonym is personal information still: whoever holds
#   the key can undo it (PIPL Article 73 calls that de-identified, not anonymous).
personal if {
	some name in leaving
	dataset.fields[name].personal != "None"
}

personal if {
	some name in leaving
	not dataset.fields[name].personal
}

# METADATA
# title: A person must be shown
# description: Personal information is read by a person in a role, never by an organisation at large. That rule is ours.
needs_person if personal

needs_person if grant.personRequired

# METADATA
# title: A person was shown
person if input.person.subject != ""

# METADATA
# title: A role of the person is in the agreement
role_allowed if {
	some role in input.person.roles
	role in grant.roles
}

# METADATA
# title: The purpose is in the agreement
purpose_allowed if input.purpose in grant.purposes

# METADATA
# title: The agreement has begun
# description: The first second of validity counts. 0 means that no beginning was agreed.
begun(candidate) if input.now >= candidate.notBefore

# METADATA
# title: The agreement has not ended
# description: The last second of validity is the one before notAfter. 0 means that no end was agreed.
not_ended(candidate) if candidate.notAfter == 0

not_ended(candidate) if input.now < candidate.notAfter

# METADATA
# title: The row scope can be enforced
# description: |
#   The scope is a list of communities. A table that does not say which community a row belongs to is read whole, which is
#   right for a list of place names and wrong for anything about people or for an agreement that names communities.
scope_enforceable if dataset.source.divisionColumn != ""

scope_enforceable if dataset.source.communityColumn != ""

scope_enforceable if {
	not personal
	object.get(dataset.source, "subjectColumn", "") == ""
	count(object.get(grant.rows, "communities", [])) == 0
}

# METADATA
# title: The gateway enforces what this text relies on
# description: |
#   Rows, masks and consent are enforced by the gateway, in the query. One that is older than this bundle would not know a limit and
#   so not keep it. The number is contract.ContractVersion; a gateway from before there was one gives none.
enforced if input.contract >= 3

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
	not shared
}

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
# title: The agreement has not begun
reasons contains "NotYetValid" if {
	grant
	not begun(grant)
}

# METADATA
# title: The agreement has ended
reasons contains "Expired" if {
	grant
	not not_ended(grant)
}

# METADATA
# title: The purpose is not in the agreement
# description: The purpose is what the organisation claims, and is logged as claimed.
reasons contains "PurposeNotAllowed" if {
	grant
	not purpose_allowed
}

# METADATA
# title: A field was asked for that the agreement does not give or the dataset does not have
reasons contains "FieldNotGranted" if {
	grant
	some name in asked
	not returned[name]
}

# METADATA
# title: Nothing would leave
# description: The agreement gives no field of this dataset, or drops all of those asked for.
reasons contains "NothingGranted" if {
	grant
	count(leaving) == 0
}

# METADATA
# title: The row scope cannot be enforced on this dataset
reasons contains "RowScopeUnenforceable" if {
	grant
	not scope_enforceable
}

# METADATA
# title: A person must be shown and was not
reasons contains "PersonRequired" if {
	grant
	needs_person
	not person
}

# METADATA
# title: The person's role is not in the agreement
reasons contains "RoleNotAllowed" if {
	grant
	needs_person
	person
	not role_allowed
}

# METADATA
# title: A case number must be given and was not
reasons contains "CaseNumberRequired" if {
	grant
	not case_number_satisfied
}

# METADATA
# title: The case number that the agreement asks for was given, or it asks for none
case_number_satisfied if not grant.caseNumberRequired

case_number_satisfied if trim_space(input.case.number) != ""
