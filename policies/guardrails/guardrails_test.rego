package dizuo.guardrails_test

import data.dizuo.guardrails

# An agreement that breaks no rule: elders' phones for home visits. All of it is made up.
good := {
	"name": "a6",
	"consumer": {"name": "town", "type": "Township", "clearance": "C2", "compounds": []},
	"datasets": [{
		"name": "elders", "category": "Ordinary", "sharing": "Conditional", "provider": {"name": "civil-affairs", "type": "Department"},
		"fields": [
			{"name": "community", "grade": "General1", "personal": "None"},
			{"name": "phone", "grade": "General3", "personal": "Ordinary", "mask": "KeepLast"},
			{"name": "health", "grade": "General4", "personal": "Sensitive"},
		],
	}],
	"purposes": ["HomeVisit"], "roles": ["GridWorker"],
	"legalBasis": {"kind": "SeparateConsent", "citation": "个人信息保护法 第十三条"},
	"impactAssessment": "PIA-2026-01",
	"validity": {"notAfter": "2027-01-01T00:00:00Z"},
	"caseNumberRequired": false,
}

# A face dataset given to the police in the one way that is allowed.
faces := object.union(without(good, ["datasets", "purposes", "caseNumberRequired", "consumer"]), {
	"consumer": {"name": "county-police", "type": "Police", "clearance": "C3"},
	"datasets": [{
		"name": "faces", "category": "Biometric", "sharing": "Conditional", "provider": {"name": "town", "type": "Township"},
		"fields": [{"name": "template", "grade": "Important", "personal": "Biometric"}],
	}],
	"purposes": ["PublicSafety"], "caseNumberRequired": true,
})

impersonal := object.union(without(good, ["datasets", "roles", "legalBasis", "impactAssessment", "validity"]), {"datasets": [{
	"name": "places", "category": "Ordinary", "sharing": "Unconditional", "provider": {"name": "resources", "type": "Department"},
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
	rules(without(impersonal, ["legalBasis"])) == set()
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

test_what_is_picked_by_is_told if {
	places := dataset_with(without(good, ["legalBasis", "impactAssessment", "validity", "roles"]), {"fields": [{"name": "grid", "grade": "General1", "personal": "None"}]})
	rules(places) == set()
	picked := dataset_with(places, {"picked": [{"name": "illness", "grade": "General4", "personal": "Sensitive"}]})
	rules(picked) == {"personal-legal-basis", "personal-roles", "sensitive-end-date", "sensitive-impact-assessment"}
	"clearance" in rules(with_key(picked, {"consumer": {"name": "town", "type": "Township", "clearance": "C1", "compounds": []}}))
	some finding in found(dataset_with(places, {"picked": [{"name": "x", "grade": "Core", "personal": "None"}]}))
	finding.rule == "core-data"
	finding.field == "spec.datasets[0].rows.requirements[0].column"
}

test_masks_do_not_make_less_sensitive if {
	masked := field_with(without(good, ["impactAssessment"]), {"personal": "Sensitive", "mask": "Pseudonym"})
	rules(masked) == {"sensitive-impact-assessment"}
}

test_unmarked_field_is_sensitive if {
	unmarked := dataset_with(without(good, ["impactAssessment"]), {"fields": [{"name": "x", "grade": "General4"}]})
	rules(unmarked) == {"clearance", "sensitive-impact-assessment"} # for the class it counts as the highest
}

test_personal_roles if {
	rules(without(good, ["roles"])) == {"personal-roles"}
	rules(with_key(good, {"roles": []})) == {"personal-roles"}
}

test_biometric_purpose if {
	rules(with_key(faces, {"purposes": ["PublicSafety", "HomeVisit"]})) == {"biometric-purpose"}
	rules(with_key(faces, {"purposes": []})) == {"biometric-purpose"}
	rules(without(faces, ["purposes"])) == {"biometric-purpose"}
}

test_biometric_consumer if {
	rules(with_key(faces, {"consumer": {"name": "fire", "type": "Fire", "clearance": "C3"}})) == {"biometric-consumer"}
	rules(without(faces, ["consumer"])) == {"biometric-consumer", "clearance", "sharing-between-authorities"}
	rules(faces) == set()
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

# A register of key populations of which nothing personal is given, to a company that is cleared for it.
register(consumer) := with_key(impersonal, {
	"datasets": [with_key(impersonal.datasets[0], {"category": "KeyPopulation", "compoundColumn": "compound"})],
	"consumer": consumer,
})

test_key_population_company if {
	rules(register({"name": "pm", "type": "PropertyCompany", "clearance": "C3", "compounds": ["a/b"]})) == {"key-population-company"}
	rules(register({"name": "shop", "type": "Company", "clearance": "C3"})) == {"key-population-company"}
	rules(register({"name": "who", "clearance": "C3"})) == {"key-population-company"}
	rules(register({"name": "who", "type": "", "clearance": "C3"})) == {"key-population-company"}
	rules(register({"name": "police", "type": "Police", "clearance": "C3"})) == set()
}

test_purpose_listed if {
	rules(with_key(good, {"purposes": ["HomeVisit", "Marketing"]})) == {"purpose-listed"}
	rules(with_key(impersonal, {"purposes": ["Advertising"]})) == {"purpose-listed"}
	rules(with_key(impersonal, {"purposes": ["MasterData"]})) == set()
}

test_sharing_none if {
	rules(dataset_with(good, {"sharing": "None"})) == {"sharing-none"}
	rules(dataset_with(good, {"sharing": "Perhaps"})) == {"sharing-none"}
	rules(with_key(good, {"datasets": [object.remove(good.datasets[0], ["sharing"])]})) == {"sharing-none"}
}

test_core_data if {
	rules(field_with(impersonal, {"grade": "Core"})) == {"core-data"}
	rules(field_with(impersonal, {"grade": "Important"})) == set()
	rules(field_with(impersonal, {"grade": "Core", "mask": "Drop"})) == set()
}

assessed(date) := with_key(good, {"impactAssessmentDate": date, "validity": {"notBefore": "2026-01-31T16:00:00Z", "notAfter": "2027-01-01T00:00:00Z"}})

test_impact_assessment_before if {
	rules(assessed("2026-02-02")) == {"impact-assessment-before"}
	rules(assessed("2026-02-01")) == set() # the day on which the agreement begins in Shanghai
	rules(with_key(good, {"impactAssessmentDate": "2026-02-02"})) == set() # it begins when approved
}

ordinary := field_with(dataset_with(good, {"fields": [good.datasets[0].fields[1]]}), {})

test_provision_separate_consent if {
	provided := with_key(ordinary, {"relationship": "Provision", "legalBasis": {"kind": "Consent", "citation": "x"}})
	rules(provided) == {"provision-separate-consent"}
	rules(with_key(provided, {"relationship": "Sharing"})) == set()
	rules(with_key(provided, {"legalBasis": {"kind": "SeparateConsent", "citation": "x"}})) == set()
	rules(with_key(provided, {"legalBasis": {"kind": "StatutoryDuty", "citation": "x"}})) == set()
	rules(field_with(provided, {"personal": "None"})) == set()
}

# A shop that delivers meals, with every paper in order.
shop := with_key(ordinary, {
	"consumer": {"name": "meals", "type": "Company", "clearance": "C1", "compounds": []},
	"relationship": "Provision", "purposes": ["ElderCare"],
})

test_company_separate_consent if {
	duty := with_key(shop, {"legalBasis": {"kind": "StatutoryDuty", "citation": "x"}})
	rules(shop) == set()
	rules(duty) == {"company-separate-consent"}
	rules(with_key(duty, {"relationship": "EntrustedProcessing", "obligations": {"noOnward": true}})) == set()
	rules(with_key(duty, {"consumer": with_key(shop.consumer, {"type": "Utility"})})) == set()
	rules(field_with(duty, {"personal": "None"})) == set()
}

entrusted := with_key(shop, {"relationship": "EntrustedProcessing", "obligations": {"noOnward": true}})

test_entrusted_term if {
	rules(without(entrusted, ["validity"])) == {"entrusted-term"}
	rules(without(shop, ["validity"])) == set()
	rules(entrusted) == set()
	rules(field_with(without(entrusted, ["validity"]), {"personal": "None"})) == set()
}

test_entrusted_no_onward if {
	rules(with_key(entrusted, {"obligations": {"noOnward": false}})) == {"entrusted-no-onward"}
	rules(without(entrusted, ["obligations"])) == {"entrusted-no-onward"}
	rules(with_key(shop, {"obligations": {"noOnward": false}})) == set()
	rules(field_with(without(entrusted, ["obligations"]), {"personal": "None"})) == set()
}

test_sharing_between_authorities if {
	rules(without(shop, ["relationship"])) == {"sharing-between-authorities"}
	rules(with_key(shop, {"relationship": "Sharing"})) == {"sharing-between-authorities"}
	rules(with_key(good, {"relationship": "Sharing"})) == set()
	rules(dataset_with(good, {"provider": {"name": "power", "type": "Utility"}})) == {"sharing-between-authorities"}
	rules(dataset_with(good, {"provider": {"name": "gone"}})) == {"sharing-between-authorities"}
	every relationship in ["Provision", "JointProcessing"] {
		rules(with_key(dataset_with(good, {"provider": {"name": "power", "type": "Utility"}}), {"relationship": relationship})) == set()
	}
	rules(with_key(impersonal, {"consumer": {"name": "map", "type": "Company", "clearance": "C0"}})) == set()
}

cleared(clearance) := with_key(good, {"consumer": with_key(good.consumer, {"clearance": clearance})})

test_clearance if {
	rules(cleared("C1")) == {"clearance"}
	rules(cleared("C2")) == set()
	rules(cleared("Top")) == {"clearance"}
	rules(with_key(good, {"consumer": without(good.consumer, ["clearance"])})) == {"clearance"}
	rules(with_key(impersonal, {"consumer": with_key(good.consumer, {"clearance": "C0"})})) == set()
	rules(with_key(ordinary, {"consumer": with_key(good.consumer, {"clearance": "C0"})})) == {"clearance"}
	rules(with_key(ordinary, {"consumer": with_key(good.consumer, {"clearance": "C1"})})) == set()
	rules(dataset_with(cleared("C2"), {"category": "Video"})) == {"clearance"} # by category
	rules(dataset_with(cleared("C2"), {"category": "Unheard"})) == {"clearance"}
	rules(dataset_with(cleared("C2"), {"category": "Health"})) == set()
	rules(field_with(cleared("C2"), {"personal": "Unheard"})) == {"clearance"}
	rules(field_with(cleared("C3"), {"personal": "Unheard"})) == set()
	rules(with_key(faces, {"consumer": {"name": "police", "type": "Police", "clearance": "C2"}})) == {"clearance"}
}

test_dropped_fields_make_no_class if {
	rules(dataset_with(cleared("C1"), {"fields": [
		good.datasets[0].fields[1],
		with_key(good.datasets[0].fields[2], {"mask": "Drop"}),
	]})) == set()
}

test_consumer_is_not_provider if {
	rules(dataset_with(good, {"provider": {"name": "town", "type": "Township"}})) == {"consumer-is-not-provider"}
	rules(dataset_with(good, {"provider": {"name": "other-town", "type": "Township"}})) == set()
}

# A property company that reads complaints of its own compounds.
property := with_key(shop, {
	"consumer": {"name": "pm", "type": "PropertyCompany", "clearance": "C1", "compounds": ["jinghu/east"]},
	"datasets": [with_key(ordinary.datasets[0], {"compoundColumn": "compound"})],
})

test_property_compounds if {
	rules(property) == set()
	rules(dataset_with(property, {"compoundColumn": ""})) == {"property-compounds"}
	rules(with_key(property, {"consumer": with_key(property.consumer, {"compounds": []})})) == {"property-compounds"}
	rules(with_key(property, {"consumer": without(property.consumer, ["compounds"])})) == {"property-compounds"}
	rules(with_key(impersonal, {"consumer": with_key(property.consumer, {"compounds": []})})) == set()
	rules(dataset_with(shop, {"compoundColumn": ""})) == set()
}

test_property_to_company if {
	pm := {"name": "pm", "type": "PropertyCompany"}
	rules(dataset_with(shop, {"provider": pm})) == {"property-to-company"}
	rules(dataset_with(shop, {"provider": {"name": "gone"}})) == {"property-to-company"}
	rules(dataset_with(shop, {"provider": {"name": "gone", "type": ""}})) == {"property-to-company"}
	rules(dataset_with(shop, {"provider": {"name": "kindergarten", "type": "Company"}})) == set()
	rules(field_with(dataset_with(shop, {"provider": pm}), {"personal": "None"})) == set()
	rules(with_key(dataset_with(shop, {"provider": pm}), {"consumer": good.consumer})) == set()
}

pupils := dataset_with(good, {"category": "Minor", "consent": {"required": true, "scope": "school-lunch"}})

test_minors_guardian if {
	rules(pupils) == set()
	rules(dataset_with(pupils, {"consent": {"required": false}})) == {"minors-guardian"}
	rules(dataset_with(pupils, {"consent": {"required": false, "scope": "school-lunch"}})) == {"minors-guardian"}
	two := with_key(pupils, {"datasets": [
		with_key(impersonal.datasets[0], {"category": "Minor"}),
		good.datasets[0],
	]})
	rules(two) == set() # what is personal is another dataset's
	rules(dataset_with(pupils, {"consent": {"required": true, "scope": ""}})) == {"minors-guardian"}
	rules(dataset_with(pupils, {"consent": {"required": false}, "category": "Health"})) == set()
	duty := {"kind": "StatutoryDuty", "citation": "x"}
	rules(with_key(dataset_with(pupils, {"consent": {"required": false}}), {"legalBasis": duty})) == set()
	rules(field_with(dataset_with(pupils, {"consent": {"required": false}, "fields": [{"name": "n"}]}), {"personal": "None"})) == set()
}

# The law's own list: an ordinary mark does not make a patient's name ordinary.
test_sensitive_by_category if {
	every category in ["Financial", "Health", "Location", "Minor"] {
		rules(without(dataset_with(ordinary, {"category": category, "consent": {"required": true, "scope": "x"}}), ["impactAssessment"])) == {"sensitive-impact-assessment"}
	}
	rules(without(ordinary, ["impactAssessment"])) == set()
	rules(without(field_with(dataset_with(ordinary, {"category": "Health"}), {"personal": "None"}), ["impactAssessment"])) == set()
}

credit := with_key(dataset_with(ordinary, {"itemCode": "C-1"}), {"purposes": ["CreditInformation"]})

test_credit_listed_fields if {
	rules(credit) == set()
	rules(dataset_with(credit, {"itemCode": ""})) == {"credit-listed-fields"}
	rules(with_key(ordinary, {"purposes": ["CreditInformation"]})) == {"credit-listed-fields"}
	rules(with_key(dataset_with(credit, {"itemCode": ""}), {"purposes": ["DataPooling"]})) == set()
}

test_credit_nothing_sensitive if {
	rules(field_with(credit, {"personal": "Sensitive"})) == {"credit-nothing-sensitive"}
	rules(with_key(field_with(credit, {"personal": "Sensitive"}), {"purposes": ["DataPooling"]})) == set()
}

test_credit_alone if {
	rules(with_key(credit, {"purposes": ["CreditInformation", "DataPooling"]})) == {"credit-alone"}
	rules(with_key(credit, {"purposes": ["DataPooling", "PublicService"]})) == set()
}

counted(dimensions, others) := with_key(impersonal, {"aggregates": {"dimensions": dimensions}, "others": others})

test_aggregates_overlap if {
	before := {"name": "before", "datasets": ["places"], "dimensions": ["a", "b"]}
	rules(counted(["a"], [before])) == {"aggregates-overlap"}
	rules(counted([], [before])) == {"aggregates-overlap"}
	rules(counted(["b", "a"], [before])) == set()
	rules(counted(["a"], [with_key(before, {"datasets": ["elsewhere"]})])) == set()
	rules(counted(["a"], [])) == set()
}

test_break_glass_reviewer if {
	rules(with_key(good, {"breakGlass": {"reviewer": "town"}})) == {"break-glass-reviewer"}
	rules(with_key(good, {"breakGlass": {"reviewer": "civil-affairs"}})) == set()
}

test_findings_name_the_consumer if {
	some known in found(register({"name": "shop", "type": "Company", "clearance": "C3"}))
	contains(known.message, "consumer shop is of type Company")
	some unknown in found(register({"clearance": "C3"}))
	contains(unknown.message, "consumer unknown is of type unknown")
}

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
