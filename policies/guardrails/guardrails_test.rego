package dizuo.guardrails_test

import data.dizuo.guardrails

# An agreement that breaks no rule: elders' phones for home visits. All of it is made up.
good := {
	"name": "a6",
	"consumer": {"name": "town", "type": "Township"},
	"datasets": [{
		"name": "elders", "category": "Ordinary", "sharing": "Conditional",
		"fields": [
			{"name": "community", "grade": "General1", "personal": "None"},
			{"name": "phone", "grade": "General3", "personal": "Ordinary", "mask": "KeepLast"},
			{"name": "health", "grade": "General4", "personal": "Sensitive"},
		],
	}],
	"purposes": ["HomeVisits"], "roles": ["GridWorker"],
	"legalBasis": {"kind": "SeparateConsent", "citation": "个人信息保护法 第十三条"},
	"impactAssessment": "PIA-2026-01",
	"validity": {"notAfter": "2027-01-01T00:00:00Z"},
	"caseNumberRequired": false,
}

# A face dataset given to the police in the one way that is allowed.
faces := object.union(without(good, ["datasets", "purposes", "caseNumberRequired", "consumer"]), {
	"consumer": {"name": "county-police", "type": "Police"},
	"datasets": [{
		"name": "faces", "category": "Biometric", "sharing": "Conditional",
		"fields": [{"name": "template", "grade": "Important", "personal": "Biometric"}],
	}],
	"purposes": ["PublicSafety"], "caseNumberRequired": true,
})

impersonal := object.union(without(good, ["datasets", "roles", "legalBasis", "impactAssessment", "validity"]), {"datasets": [{
	"name": "places", "category": "Ordinary", "sharing": "Unconditional",
	"fields": [{"name": "name", "grade": "General1", "personal": "None"}],
}]})

without(agreement, keys) := object.remove(agreement, keys)

with_key(agreement, change) := object.union(object.remove(agreement, object.keys(change)), change)

rules(agreement) := {finding.rule | some finding in found(agreement)}

found(agreement) := findings if {
	findings := guardrails.deny with input as {"agreement": agreement}
}

dataset_with(agreement, change) := with_key(agreement, {"datasets": [with_key(agreement.datasets[0], change)]})

field_with(agreement, change) := dataset_with(agreement, {"fields": [with_key(agreement.datasets[0].fields[0], change)]})

test_good_agreements_pass if {
	found(good) == set()
	found(faces) == set()
	found(impersonal) == set()
}

test_personal_legal_basis if {
	rules(without(good, ["legalBasis"])) == {"personal-legal-basis"}
	rules(with_key(good, {"legalBasis": {"kind": "Contract", "citation": " "}})) == {"personal-legal-basis"}
	rules(with_key(good, {"legalBasis": {"kind": "", "citation": "x"}})) == {"personal-legal-basis"}
}

test_sensitive_separate_consent if {
	rules(with_key(good, {"legalBasis": {"kind": "Consent", "citation": "x"}})) == {"sensitive-separate-consent"}
}

test_ordinary_consent_is_enough_for_ordinary_fields if {
	ordinary := field_with(with_key(good, {"legalBasis": {"kind": "Consent", "citation": "x"}}), {"personal": "Ordinary"})
	rules(ordinary) == set()
}

test_sensitive_impact_assessment if {
	rules(without(good, ["impactAssessment"])) == {"sensitive-impact-assessment"}
	rules(with_key(good, {"impactAssessment": ""})) == {"sensitive-impact-assessment"}
}

test_sensitive_end_date if {
	rules(without(good, ["validity"])) == {"sensitive-end-date"}
	rules(with_key(good, {"validity": {"notBefore": "2026-01-01T00:00:00Z"}})) == {"sensitive-end-date"}
	rules(with_key(good, {"validity": {"notAfter": ""}})) == {"sensitive-end-date"}
}

test_dropped_fields_are_not_counted if {
	dropped := field_with(without(good, ["impactAssessment", "validity", "legalBasis"]), {"personal": "Sensitive", "mask": "Drop"})
	rules(dropped) == set()
}

test_masks_do_not_make_less_sensitive if {
	masked := field_with(without(good, ["impactAssessment"]), {"personal": "Sensitive", "mask": "Pseudonym"})
	rules(masked) == {"sensitive-impact-assessment"}
}

test_unmarked_field_is_sensitive if {
	unmarked := dataset_with(without(good, ["impactAssessment"]), {"fields": [{"name": "x", "grade": "General4"}]})
	rules(unmarked) == {"sensitive-impact-assessment"}
}

test_personal_roles if {
	rules(without(good, ["roles"])) == {"personal-roles"}
	rules(with_key(good, {"roles": []})) == {"personal-roles"}
}

test_biometric_purpose if {
	rules(with_key(faces, {"purposes": ["PublicSafety", "HomeVisits"]})) == {"biometric-purpose"}
	rules(with_key(faces, {"purposes": []})) == {"biometric-purpose"}
	rules(without(faces, ["purposes"])) == {"biometric-purpose"}
}

test_biometric_consumer if {
	rules(with_key(faces, {"consumer": {"name": "pm", "type": "PropertyCompany"}})) == {"biometric-consumer"}
	rules(without(faces, ["consumer"])) == {"biometric-consumer"}
}

test_biometric_case_number if {
	rules(with_key(faces, {"caseNumberRequired": false})) == {"biometric-case-number"}
	rules(without(faces, ["caseNumberRequired"])) == {"biometric-case-number"}
}

test_biometric_by_category_alone if {
	marked_down := with_key(field_with(faces, {"personal": "Ordinary"}), {"caseNumberRequired": false})
	rules(marked_down) == {"biometric-case-number"}
}

test_biometric_by_field_alone if {
	hidden := with_key(dataset_with(faces, {"category": "Ordinary"}), {"caseNumberRequired": false})
	rules(hidden) == {"biometric-case-number"}
}

test_key_population_company if {
	register := dataset_with(impersonal, {"category": "KeyPopulation"})
	rules(with_key(register, {"consumer": {"name": "pm", "type": "PropertyCompany"}})) == {"key-population-company"}
	rules(with_key(register, {"consumer": {"name": "shop", "type": "Company"}})) == {"key-population-company"}
	rules(with_key(register, {"consumer": {"name": "who"}})) == {"key-population-company"}
	rules(register) == set()
}

test_personal_selling if {
	rules(with_key(good, {"purposes": ["HomeVisits", "Marketing"]})) == {"personal-selling"}
	rules(with_key(impersonal, {"purposes": ["Marketing"]})) == set()
}

test_sharing_none if {
	rules(dataset_with(good, {"sharing": "None"})) == {"sharing-none"}
	rules(dataset_with(good, {"sharing": "Perhaps"})) == {"sharing-none"}
	rules(with_key(good, {"datasets": [object.remove(good.datasets[0], ["sharing"])]})) == {"sharing-none"}
}

test_core_data if rules(field_with(impersonal, {"grade": "Core"})) == {"core-data"}

test_findings_say_origin_and_citation if {
	some law in found(without(good, ["impactAssessment"]))
	law.origin == "law"
	law.citation == "个人信息保护法 (PIPL) 第五十五条"
	law.field == "spec.impactAssessment"
	contains(law.message, "health of dataset elders")
	some ours in found(with_key(faces, {"caseNumberRequired": false}))
	ours.origin == "ours"
	ours.citation == ""
}
