package dizuo.access_test

import data.dizuo.access

# One dataset about people, one about places, one that is not shared. All names and values are made up.
datasets := {
	"elders": {
		"provider": "civil-affairs", "sharing": "Conditional", "category": "Ordinary",
		"fields": {
			"community": {"type": "String", "column": "community", "grade": "General1", "personal": "None"},
			"phone": {"type": "String", "column": "phone", "grade": "General3", "personal": "Ordinary"},
			"health": {"type": "String", "column": "health", "grade": "General4", "personal": "Sensitive"},
			"unmarked": {"type": "String", "column": "unmarked", "grade": "General4"},
		},
		"source": {"schema": "datasets", "table": "elders", "divisionColumn": "community", "subjectColumn": "subject"},
	},
	"places": {
		"provider": "natural-resources", "sharing": "Unconditional", "category": "Ordinary",
		"fields": {"name": {"type": "String", "column": "name", "grade": "General1", "personal": "None"}},
		"source": {"schema": "datasets", "table": "places"},
	},
	"secrets": {
		"provider": "police", "sharing": "None", "category": "Ordinary",
		"fields": {"name": {"type": "String", "column": "name", "grade": "General1", "personal": "None"}},
		"source": {"schema": "datasets", "table": "secrets", "divisionColumn": "community"},
	},
}

visits := {
	"uid": "u1", "generation": 1, "digest": "sha256:00",
	"fields": {"community": {}, "phone": {"method": "KeepLast", "keep": 4}, "health": {"method": "Drop"}},
	"rows": {"divisions": ["4101"]},
	"purposes": ["Visits"], "roles": ["GridWorker"],
	"notBefore": 100, "notAfter": 200,
}

places := {
	"uid": "u2", "generation": 1, "digest": "sha256:00",
	"fields": {"name": {}}, "rows": {"divisions": ["41"]}, "purposes": ["MasterData"],
	"notBefore": 0, "notAfter": 0,
}

grants := {
	"elders": {"town": {"a6": visits}},
	"places": {"town": {"a10": places}},
	"secrets": {"town": {"wrong": object.union(places, {"fields": {"name": {}}})}},
}

ask := {
	"dataset": "elders", "consumer": "town", "agreement": "a6", "fields": ["community", "phone"],
	"purpose": "Visits", "person": {"subject": "p-1", "roles": ["GridWorker"]}, "clearance": "C2", "contract": 3, "now": 150,
}

place := {"dataset": "places", "consumer": "town", "purpose": "MasterData", "contract": 3, "now": 150}

decide(request, table) := decision if {
	decision := access.decision with input as request
		with data.dizuo.datasets as datasets
		with data.dizuo.grants as table
}

refuse(request, table, reasons) if {
	got := decide(request, table)
	got.allow == false
	got.reasons == reasons
	not got.fields
	not got.rows
}

# with_grant gives the table with some keys of the agreement a6 replaced.
with_grant(change) := {"elders": {"town": {"a6": object.union(object.remove(visits, object.keys(change)), change)}}}

test_allows_what_was_agreed if {
	decide(ask, grants) == {
		"allow": true, "reasons": [], "agreement": "a6", "role": "GridWorker",
		"fields": {"community": {}, "phone": {"method": "KeepLast", "keep": 4}},
		"rows": {"divisions": ["4101"]},
		"consentScope": "", "smallCell": 0, "breakGlass": false,
	}
}

test_allows_without_naming_the_only_agreement if {
	decide(object.remove(ask, ["agreement"]), grants).agreement == "a6"
	decide(object.remove(ask, ["agreement"]), grants).allow
}

test_no_fields_means_all_that_the_agreement_gives if {
	got := decide(object.remove(ask, ["fields"]), grants)
	got.allow
	object.keys(got.fields) == {"community", "phone", "health"}
}

test_granted_field_that_the_dataset_lost_is_left_out if {
	got := decide(object.remove(ask, ["fields"]), with_grant({"fields": {"community": {}, "gone": {}}}))
	got.allow
	object.keys(got.fields) == {"community"}
}

test_unconditional_needs_no_person_for_impersonal_fields if decide(place, grants).allow

test_unconditional_still_needs_an_agreement if refuse(object.union(place, {"consumer": "other"}), grants, ["NoAgreement"])

test_older_gateway_gives_nothing if {
	refuse(object.remove(ask, ["contract"]), grants, ["GatewayOutdated"])
	refuse(object.union(ask, {"contract": 2}), grants, ["GatewayOutdated"])
	decide(object.union(ask, {"contract": 4}), grants).allow
}

test_one_role_of_several_is_enough if {
	decide(object.union(ask, {"person": {"subject": "p-1", "roles": ["Doctor", "GridWorker"]}}), grants).allow
}

test_unknown_dataset if {
	refuse(object.union(ask, {"dataset": "nothing"}), grants, ["NoAgreement", "UnknownDataset"])
}

test_no_agreement_at_all if refuse(ask, {}, ["NoAgreement"])

test_no_agreement_with_this_consumer if refuse(object.union(ask, {"consumer": "shop"}), grants, ["NoAgreement"])

test_no_agreement_of_this_name if refuse(object.union(ask, {"agreement": "a7"}), grants, ["NoAgreement"])

test_agreement_of_another_consumer_cannot_be_named if {
	table := {"elders": {"health": {"a6": visits}, "town": {"a5": visits}}}
	refuse(ask, table, ["NoAgreement"])
}

test_sharing_none if {
	request := {"dataset": "secrets", "consumer": "town", "purpose": "MasterData", "contract": 3, "now": 150}
	refuse(request, grants, ["SharingNone"])
}

test_unheard_of_sharing_attribute_is_not_shared if {
	got := access.decision with input as place
		with data.dizuo.datasets as {"places": object.union(datasets.places, {"sharing": "Perhaps"})}
		with data.dizuo.grants as grants
	got == {"allow": false, "reasons": ["SharingNone"], "agreement": "a10"}
}

test_not_yet_valid if refuse(object.union(ask, {"now": 99}), grants, ["NotYetValid"])

test_first_second if decide(object.union(ask, {"now": 100}), grants).allow

test_last_second if decide(object.union(ask, {"now": 199}), grants).allow

test_expired if refuse(object.union(ask, {"now": 200}), grants, ["Expired"])

test_expired_and_not_named if {
	refuse(object.union(object.remove(ask, ["agreement"]), {"now": 200}), grants, ["Expired"])
}

test_missing_validity_refuses if {
	table := {"elders": {"town": {"a6": object.remove(visits, ["notBefore", "notAfter"])}}}
	refuse(ask, table, ["Expired", "NotYetValid"])
}

test_purpose_not_allowed if refuse(object.union(ask, {"purpose": "Marketing"}), grants, ["PurposeNotAllowed"])

test_no_purpose if refuse(object.union(ask, {"purpose": ""}), grants, ["PurposeNotAllowed"])

test_field_not_granted if {
	refuse(object.union(ask, {"fields": ["community", "unmarked"]}), grants, ["FieldNotGranted"])
}

test_field_of_the_grant_that_the_dataset_lost if {
	request := object.union(ask, {"fields": ["community", "gone"]})
	refuse(request, with_grant({"fields": {"community": {}, "gone": {}}}), ["FieldNotGranted"])
}

test_nothing_granted if refuse(object.union(ask, {"fields": ["health"]}), grants, ["NothingGranted"])

test_person_required_for_personal_fields if refuse(object.remove(ask, ["person"]), grants, ["PersonRequired"])

test_person_without_subject_is_none if {
	refuse(object.union(ask, {"person": {"subject": "", "roles": ["GridWorker"]}}), grants, ["PersonRequired"])
}

test_person_not_required_for_impersonal_fields if {
	decide(object.remove(object.union(ask, {"fields": ["community"]}), ["person"]), grants).allow
}

test_dropped_personal_field_needs_no_person if {
	decide(object.remove(object.union(ask, {"fields": ["community", "health"]}), ["person"]), grants).allow
}

test_unmarked_field_is_personal if {
	request := object.remove(object.union(ask, {"fields": ["unmarked"], "clearance": "C3"}), ["person"])
	refuse(request, with_grant({"fields": {"unmarked": {}}}), ["PersonRequired"])
}

test_pseudonym_is_personal if {
	request := object.remove(object.union(ask, {"fields": ["phone"]}), ["person"])
	refuse(request, with_grant({"fields": {"phone": {"method": "Pseudonym"}}}), ["PersonRequired"])
}

test_person_required_by_the_agreement if {
	request := object.remove(object.union(ask, {"fields": ["community"]}), ["person"])
	refuse(request, with_grant({"personRequired": true}), ["PersonRequired"])
}

test_role_not_allowed if {
	refuse(object.union(ask, {"person": {"subject": "p-1", "roles": ["Doctor"]}}), grants, ["RoleNotAllowed"])
}

test_agreement_without_roles_gives_no_personal_field if {
	table := {"elders": {"town": {"a6": object.remove(visits, ["roles"])}}}
	refuse(ask, table, ["RoleNotAllowed"])
}

test_case_number_required if refuse(ask, with_grant({"caseNumberRequired": true}), ["CaseNumberRequired"])

test_blank_case_number_is_none if {
	refuse(object.union(ask, {"case": {"number": "  "}}), with_grant({"caseNumberRequired": true}), ["CaseNumberRequired"])
}

test_case_number_given if {
	decide(object.union(ask, {"case": {"number": "A-1", "origin": "Foreign"}}), with_grant({"caseNumberRequired": true})).allow
}

test_two_that_fit_are_ambiguous if {
	table := {"elders": {"town": {"a6": visits, "a7": visits}}}
	refuse(object.remove(ask, ["agreement"]), table, ["AgreementAmbiguous"])
	decide(ask, table).allow
}

test_two_that_do_not_fit_are_ambiguous if {
	table := {"elders": {"town": {"a6": visits, "a7": visits}}}
	refuse(object.union(object.remove(ask, ["agreement"]), {"now": 300}), table, ["AgreementAmbiguous"])
}

test_the_only_one_in_force_is_used if {
	table := {"elders": {"town": {"old": object.union(visits, {"notAfter": 120}), "new": visits}}}
	decide(object.remove(ask, ["agreement"]), table).agreement == "new"
}

test_the_only_one_for_the_purpose_is_used if {
	table := {"elders": {"town": {"a6": visits, "a7": object.union(visits, {"purposes": ["Statistics"]})}}}
	decide(object.remove(ask, ["agreement"]), table).agreement == "a6"
}

test_fields_of_two_agreements_never_add_up if {
	table := {"elders": {"town": {
		"a6": object.union(object.remove(visits, ["fields"]), {"fields": {"community": {}}}),
		"a7": object.union(object.remove(visits, ["fields"]), {"fields": {"phone": {}}}),
	}}}
	refuse(ask, table, ["FieldNotGranted"])
}

test_row_scope_unenforceable_for_people if {
	bare := object.union(object.remove(datasets.elders, ["source"]), {"source": {"schema": "datasets", "table": "elders"}})
	got := access.decision with input as ask
		with data.dizuo.datasets as {"elders": bare}
		with data.dizuo.grants as grants
	got == {"allow": false, "reasons": ["RowScopeUnenforceable"], "agreement": "a6"}
}

test_row_scope_unenforceable_for_named_communities if {
	table := {"places": {"town": {"a10": object.union(places, {"rows": {"divisions": ["41"], "communities": ["jinghu"]}})}}}
	refuse(place, table, ["RowScopeUnenforceable"])
}

test_all_reasons_are_told_sorted if {
	request := object.union(object.remove(ask, ["person"]), {"purpose": "Marketing", "now": 300})
	refuse(request, grants, ["Expired", "PersonRequired", "PurposeNotAllowed"])
}

test_a_grant_without_rows_refuses if {
	table := {"elders": {"town": {"a6": object.remove(visits, ["rows"])}}}
	decide(ask, table) == {"allow": false, "reasons": ["PolicyError"]}
}

test_missing_purposes_refuse if {
	table := {"elders": {"town": {"a6": object.remove(visits, ["purposes"])}}}
	refuse(ask, table, ["PurposeNotAllowed"])
}

test_missing_purpose_refuses if refuse(object.remove(ask, ["purpose"]), grants, ["PurposeNotAllowed"])

test_missing_time_refuses if refuse(object.remove(ask, ["now"]), grants, ["Expired", "NotYetValid"])

test_missing_fields_of_the_grant_refuse if {
	table := {"elders": {"town": {"a6": object.remove(visits, ["fields"])}}}
	refuse(ask, table, ["FieldNotGranted", "NothingGranted"])
}

test_missing_sharing_attribute_refuses if {
	got := access.decision with input as place
		with data.dizuo.datasets as {"places": object.remove(datasets.places, ["sharing"])}
		with data.dizuo.grants as grants
	got == {"allow": false, "reasons": ["SharingNone"], "agreement": "a10"}
}

test_empty_request_refuses if {
	got := decide({}, grants)
	got.allow == false
}

# Clearance.

test_clearance_too_low if {
	refuse(object.union(ask, {"clearance": "C0"}), grants, ["ClearanceTooLow"])
	refuse(object.remove(ask, ["clearance"]), grants, ["ClearanceTooLow"])
	refuse(object.union(ask, {"clearance": "C9"}), grants, ["ClearanceTooLow"])
	decide(object.union(ask, {"clearance": "C1"}), grants).allow
}

test_sensitive_field_needs_a_higher_clearance if {
	table := with_grant({"fields": {"health": {}}})
	refuse(object.union(ask, {"fields": ["health"], "clearance": "C1"}), table, ["ClearanceTooLow"])
	decide(object.union(ask, {"fields": ["health"], "clearance": "C2"}), table).allow
}

test_category_that_nobody_knows_is_the_highest if {
	unheard := {"elders": object.union(datasets.elders, {"category": "Unheard"})}
	request := object.union(ask, {"fields": ["community"]})
	refused := access.decision with input as object.union(request, {"clearance": "C2"})
		with data.dizuo.datasets as unheard
		with data.dizuo.grants as grants
	refused == {"allow": false, "reasons": ["ClearanceTooLow"], "agreement": "a6"}
	police := access.decision with input as object.union(request, {"clearance": "C3"})
		with data.dizuo.datasets as unheard
		with data.dizuo.grants as grants
	police.allow
}

test_category_needs_a_clearance_whatever_the_field if {
	watched := {"elders": object.union(datasets.elders, {"category": "KeyPopulation"})}
	request := object.union(ask, {"fields": ["community"]})
	got := access.decision with input as request
		with data.dizuo.datasets as watched
		with data.dizuo.grants as grants
	got == {"allow": false, "reasons": ["ClearanceTooLow"], "agreement": "a6"}
	police := access.decision with input as object.union(request, {"clearance": "C3"})
		with data.dizuo.datasets as watched
		with data.dizuo.grants as grants
	police.allow
}

# Hours.

office := {"hours": {"from": 540, "to": 1020, "workingDaysOnly": true}}

at(minute, working) := object.union(ask, {"clock": {"minute": minute, "workingDay": working}})

test_within_hours if {
	decide(at(540, true), with_grant(office)).allow
	decide(at(1019, true), with_grant(office)).allow
}

test_outside_hours if {
	refuse(at(539, true), with_grant(office), ["OutsideHours"])
	refuse(at(1020, true), with_grant(office), ["OutsideHours"])
	refuse(at(600, false), with_grant(office), ["OutsideHours"])
	refuse(ask, with_grant(office), ["OutsideHours"])
}

test_hours_over_midnight if {
	night := with_grant({"hours": {"from": 1320, "to": 360}})
	decide(at(1320, false), night).allow
	decide(at(0, false), night).allow
	decide(at(359, false), night).allow
	refuse(at(360, false), night, ["OutsideHours"])
	refuse(at(1319, false), night, ["OutsideHours"])
}

# Cases.

fire := {
	"number": "20260301-000001", "origin": "Platform", "open": true, "class": "fire", "severity": "High",
	"community": "jinghu", "division": "410101001001",
}

case_of(change) := object.union(ask, {"case": object.union(fire, change)})

fires := {"case": {"classes": ["fire"], "minSeverity": "Medium", "graceSeconds": 60}}

test_case_of_the_agreement if decide(case_of({}), with_grant(fires)).allow

test_case_condition_needs_a_number if refuse(ask, with_grant(fires), ["CaseNumberRequired"])

test_case_unknown if {
	refuse(case_of({"origin": ""}), with_grant(fires), ["CaseUnknown"])
	refuse(case_of({"origin": "Foreign"}), with_grant(fires), ["CaseUnknown"])
	refuse(case_of({"origin": ""}), with_grant({"caseNumberRequired": true}), ["CaseUnknown"])
	decide(case_of({"origin": "Foreign"}), with_grant({"caseNumberRequired": true})).allow
}

test_case_not_open if {
	closed := case_of({"open": false, "closedAt": 90})
	decide(closed, with_grant(fires)).reasons == ["CaseNotOpen"]
	decide(case_of({"open": false, "closedAt": 91}), with_grant(fires)).allow
	refuse(case_of({"open": false, "closedAt": 149}), with_grant({"caseNumberRequired": true}), ["CaseNotOpen"])
}

test_case_not_covered if {
	every change in [{"class": "fall"}, {"severity": "Low"}, {"severity": ""}, {"division": "410201001001"}] {
		refuse(case_of(change), with_grant(fires), ["CaseNotCovered"])
	}
	elsewhere := with_grant(object.union(fires, {"rows": {"divisions": ["4101"], "communities": ["east"]}}))
	refuse(case_of({}), elsewhere, ["CaseNotCovered"])
	here := with_grant(object.union(fires, {"rows": {"divisions": ["4101"], "communities": ["jinghu"]}}))
	decide(case_of({}), here).allow
	decide(case_of({"class": "fall"}), with_grant({"case": {"minSeverity": "Low"}})).allow
}

test_case_number_of_the_agreement if {
	bound := with_grant({"caseNumber": "A-1"})
	decide(object.union(ask, {"case": {"number": "A-1", "origin": "Foreign"}}), bound).allow
	refuse(object.union(ask, {"case": {"number": "A-2", "origin": "Foreign"}}), bound, ["CaseNumberMismatch"])
	refuse(ask, bound, ["CaseNumberRequired"])
}

test_case_that_nobody_asked_for_matters_not if decide(case_of({"origin": "", "open": false}), grants).allow

# Break-glass.

glass := {"breakGlass": {"roles": ["Doctor"], "reviewer": "office", "reviewSeconds": 100}, "roles": ["Doctor", "GridWorker"]}

emergency := object.union(at(0, true), {"breakGlass": {"reason": "no answer at the door"}, "person": {"subject": "p-1", "roles": ["Doctor"]}})

test_break_glass_opens_hours_and_case if {
	got := decide(emergency, with_grant(object.union_n([office, glass, {"caseNumberRequired": true}])))
	got.allow
	got.breakGlass
	got.role == "Doctor"
}

test_break_glass_that_is_not_needed_is_none if {
	got := decide(object.union(emergency, {"clock": {"minute": 600, "workingDay": true}}), with_grant(object.union(office, glass)))
	got.allow
	not got.breakGlass
	decide(object.union(emergency, {"breakGlass": {"reason": " "}}), with_grant(glass)).allow
}

test_break_glass_only_where_agreed if {
	table := with_grant(object.union(office, {"roles": ["Doctor"]}))
	refuse(emergency, table, ["BreakGlassNotGranted", "OutsideHours"])
}

test_break_glass_needs_a_reason if {
	refuse(object.union(emergency, {"breakGlass": {"reason": " "}}), with_grant(object.union(office, glass)), ["BreakGlassReasonRequired", "OutsideHours"])
}

test_break_glass_needs_a_role if {
	table := with_grant(object.union(office, glass))
	worker := object.union(emergency, {"person": {"subject": "p-1", "roles": ["GridWorker"]}})
	refuse(worker, table, ["BreakGlassRoleNotAllowed", "OutsideHours"])
	place_only := object.remove(object.union(emergency, {"fields": ["community"]}), ["person"])
	refuse(place_only, table, ["BreakGlassRoleNotAllowed", "OutsideHours"])
}

test_break_glass_role_must_be_a_role_of_the_agreement if {
	table := with_grant(object.union_n([office, glass, {"roles": ["GridWorker"]}]))
	refuse(emergency, table, ["BreakGlassRoleNotAllowed", "OutsideHours", "RoleNotAllowed"])
}

test_break_glass_waits_for_the_review if {
	overdue := object.union(emergency, {"breakGlass": {"reason": "again", "overdue": true}})
	refuse(overdue, with_grant(object.union(office, glass)), ["BreakGlassReviewOverdue", "OutsideHours"])
}

test_break_glass_opens_nothing_else if {
	request := object.union(emergency, {"purpose": "Marketing", "fields": ["unmarked"], "clearance": "C3"})
	refuse(request, with_grant(object.union(office, glass)), ["FieldNotGranted", "NothingGranted", "PurposeNotAllowed"])
	bound := with_grant(object.union_n([office, glass, {"caseNumber": "A-1"}]))
	refuse(object.union(emergency, {"case": {"number": "A-2", "origin": "Foreign"}}), bound, ["CaseNumberMismatch", "OutsideHours"])
}

# Counts and sums.

table_of(change) := with_grant({"aggregates": object.union({"smallCell": 10, "dimensions": ["community"], "measures": ["phone"]}, change)})

counted := object.union(object.remove(ask, ["person", "fields"]), {"aggregate": {"by": ["community"]}})

test_counts if {
	got := decide(counted, table_of({}))
	got.allow
	got.smallCell == 10
	object.keys(got.fields) == {"community"}
	decide(object.union(object.remove(counted, ["aggregate"]), {"aggregate": {}}), table_of({})).allow
	decide(object.union(object.remove(counted, ["aggregate"]), {"aggregate": {"sum": ["phone"]}, "filter": [{"field": "community", "operator": "In", "values": ["a"]}]}), table_of({})).allow
}

test_aggregates_only if {
	refuse(ask, table_of({"only": true}), ["AggregatesOnly"])
	decide(ask, table_of({"only": false})).allow
}

test_aggregates_not_granted if refuse(counted, grants, ["AggregatesNotGranted"])

test_dimension_not_granted if {
	refuse(object.union(counted, {"aggregate": {"by": ["phone"]}}), table_of({}), ["DimensionNotGranted"])
	refuse(object.union(counted, {"filter": [{"field": "phone", "operator": "In", "values": ["1"]}]}), table_of({}), ["DimensionNotGranted"])
	refuse(object.union(counted, {"filter": [{"field": "community", "operator": "NotIn", "values": ["1"]}]}), table_of({}), ["DimensionNotGranted"])
}

test_measure_not_granted if {
	refuse(object.union(counted, {"aggregate": {"by": ["community"], "sum": ["community"]}}), table_of({}), ["MeasureNotGranted"])
}

test_counts_need_a_person_where_the_agreement_says_so if {
	table := with_grant({"personRequired": true, "aggregates": {"smallCell": 10, "dimensions": ["community"]}})
	refuse(counted, table, ["PersonRequired"])
}

# Filters.

filtered(field) := object.union(ask, {"filter": [{"field": field, "operator": "In", "values": ["a"]}]})

test_filter_on_what_is_given_as_it_is if decide(filtered("community"), grants).allow

test_filter_not_granted if {
	refuse(filtered("phone"), grants, ["FilterNotGranted"])
	refuse(filtered("health"), grants, ["FilterNotGranted"])
	refuse(object.union(filtered("phone"), {"fields": ["community"]}), with_grant({"fields": {"community": {}, "phone": {}}}), ["FilterNotGranted"])
}

# Rows and consent.

sourced(change) := {"elders": object.union(datasets.elders, {"source": object.union(datasets.elders.source, change)})}

test_row_scope_needs_its_column if {
	every part, column in {"grids": "gridColumn", "compounds": "compoundColumn"} {
		table := with_grant({"rows": {"divisions": ["4101"], part: ["g"]}})
		refuse(ask, table, ["RowScopeUnenforceable"])
		got := access.decision with input as ask
			with data.dizuo.datasets as sourced({column: "c"})
			with data.dizuo.grants as table
		got.allow
	}
}

test_community_column_is_a_scope_too if {
	bare := {"elders": object.union(object.remove(datasets.elders, ["source"]), {"source": {"communityColumn": "c", "subjectColumn": "s"}})}
	got := access.decision with input as ask
		with data.dizuo.datasets as bare
		with data.dizuo.grants as grants
	got.allow
}

test_roster_needs_a_person if {
	table := with_grant({"rows": {"divisions": ["4101"], "roster": true}})
	request := object.remove(object.union(ask, {"fields": ["community"]}), ["person"])
	refuse(request, table, ["PersonRequired"])
}

test_consent_scope if {
	decide(ask, with_grant({"consentScope": "a6"})).consentScope == "a6"
	got := access.decision with input as ask
		with data.dizuo.datasets as {"elders": object.union(datasets.elders, {"consentScope": "visits"})}
		with data.dizuo.grants as with_grant({"consentScope": "a6"})
	got.consentScope == "visits"
}

test_consent_unenforceable if {
	nobody := {"elders": object.union(object.remove(datasets.elders, ["source"]), {"source": {"divisionColumn": "community"}})}
	got := access.decision with input as ask
		with data.dizuo.datasets as nobody
		with data.dizuo.grants as with_grant({"consentScope": "a6"})
	got == {"allow": false, "reasons": ["ConsentUnenforceable"], "agreement": "a6"}
}

category(name, clearance) := decision if {
	decision := access.decision with input as object.union(ask, {"clearance": clearance, "fields": ["community"]})
		with data.dizuo.datasets as object.union(datasets, {"elders": {"category": name}})
		with data.dizuo.grants as grants
}

test_category_needs_its_clearance if {
	not category("Video", "C2").allow
	category("Video", "C3").allow
	not category("Health", "C1").allow
	category("Health", "C2").allow
	category("Ordinary", "C0").allow
	not category("Ordinary", "C9").allow
}

test_role_is_told_where_nobody_needs_to_be_shown if {
	decide(object.union(ask, {"fields": ["community"], "person": {"subject": "", "roles": ["GridWorker"]}}), grants).role == "GridWorker"
	decide(object.remove(object.union(ask, {"fields": ["community"]}), ["person"]), grants).role == ""
}
