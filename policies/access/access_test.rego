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
	"purpose": "Visits", "person": {"subject": "p-1", "roles": ["GridWorker"]}, "contract": 3, "now": 150,
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
		"allow": true, "reasons": [], "agreement": "a6",
		"fields": {"community": {}, "phone": {"method": "KeepLast", "keep": 4}},
		"rows": {"divisions": ["4101"]},
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
	request := object.remove(object.union(ask, {"fields": ["unmarked"]}), ["person"])
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
	decide(object.union(ask, {"case": {"number": "A-1"}}), with_grant({"caseNumberRequired": true})).allow
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
