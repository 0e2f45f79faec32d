# METADATA
# title: Rules about agreements (红线规则)
# description: |
#   An agreement that breaks one of these rules never comes into force, whoever signed it. They run when an agreement is
#   submitted, when it is compiled, in the CLI and in CI, from this same file.
#
#   What it looks at: input.agreement (see policies.GuardAgreement), the agreement beside what it refers to: the consumer's
#   type and, for every dataset, its category, its sharing attribute and the fields that the agreement gives.
#
#   Each rule says in its METADATA where it comes from:
#     custom.origin    "law" with custom.citation, or "ours": a choice of this project that no text demands
#   A rule that is "ours" may lean on a text; custom.background then names it. Passing these rules does not make an
#   agreement lawful: they refuse what is plainly wrong and replace no legal review.
#
#   Everything that is not said counts as the worst case: a field without a mark is sensitive, a purpose that is not on a
#   list is not on the list, and a mask does not make a field less sensitive (only Drop does, for then nothing leaves).
package dizuo.guardrails

# METADATA
# title: Purposes that count as public safety
# description: From the controlled list of purposes.
public_safety := {"PublicSafety", "CriminalInvestigation", "EmergencyRescue"}

# METADATA
# title: Purposes that serve selling
selling := {"Marketing", "Advertising", "Profiling", "CreditScoring"}

# METADATA
# title: Consumers that are run for profit
for_profit := {"PropertyCompany", "Company"}

# METADATA
# title: The fields that leave under the agreement
leaving contains [dataset, field, at] if {
	some i, dataset in input.agreement.datasets
	some j, field in dataset.fields
	object.get(field, "mask", "") != "Drop"
	at := sprintf("spec.datasets[%d].fields[%d]", [i, j])
}

# METADATA
# title: Biometric data
biometric contains [dataset, field, at] if {
	some [dataset, field, at] in leaving
	field.personal == "Biometric"
}

biometric contains [dataset, field, at] if {
	some [dataset, field, at] in leaving
	dataset.category == "Biometric"
}

# METADATA
# title: Sensitive personal information
# description: Biometric data is sensitive too (PIPL Article 28), and so is a field that nobody marked.
sensitive contains [dataset, field, at] if {
	some [dataset, field, at] in leaving
	not object.get(field, "personal", "") in {"None", "Ordinary"}
}

# METADATA
# title: Personal information
personal contains [dataset, field, at] if {
	some [dataset, field, at] in leaving
	object.get(field, "personal", "") != "None"
}

# METADATA
# title: A finding
# description: Name, origin and citation come from the METADATA of the rule that found it, so they are said in one place.
finding(about, field, message) := {
	"rule": about.custom.rule,
	"origin": about.custom.origin,
	"citation": object.get(about.custom, "citation", ""),
	"field": field,
	"message": message,
}

# METADATA
# title: Personal information needs a legal basis
# description: One of the grounds of Article 13, with the text that gives it.
# custom:
#   rule: personal-legal-basis
#   origin: law
#   citation: 个人信息保护法 (PIPL) 第十三条
deny contains finding(rego.metadata.rule(), "spec.legalBasis", message) if {
	count(personal) > 0
	not has_legal_basis
	message := "personal fields need a legal basis: write legalBasis.kind and legalBasis.citation, or drop the personal fields"
}

has_legal_basis if {
	input.agreement.legalBasis.kind != ""
	trim_space(input.agreement.legalBasis.citation) != ""
}

# METADATA
# title: Consent to sensitive personal information is a separate consent
# description: Where the ground is consent, sensitive information asks for one given for this alone.
# custom:
#   rule: sensitive-separate-consent
#   origin: law
#   citation: 个人信息保护法 (PIPL) 第二十九条
deny contains finding(rego.metadata.rule(), "spec.legalBasis.kind", message) if {
	some [dataset, field, _] in sensitive
	input.agreement.legalBasis.kind == "Consent"
	message := sprintf("%s of dataset %s is sensitive: consent to it must be given for this alone; write kind SeparateConsent, or another ground", [field.name, dataset.name])
}

# METADATA
# title: Sensitive personal information needs an impact assessment
# description: |
#   Article 55 demands one before sensitive information is processed. It also demands one before any personal information
#   is given to another handler; this rule does not go that far, so its silence is no permission.
# custom:
#   rule: sensitive-impact-assessment
#   origin: law
#   citation: 个人信息保护法 (PIPL) 第五十五条
deny contains finding(rego.metadata.rule(), "spec.impactAssessment", message) if {
	some [dataset, field, _] in sensitive
	not has_impact_assessment
	message := sprintf("%s of dataset %s is sensitive: write impactAssessment with a reference to the assessment", [field.name, dataset.name])
}

has_impact_assessment if trim_space(input.agreement.impactAssessment) != ""

# METADATA
# title: Sensitive personal information needs an end date
# description: An agreement without an end is never looked at again.
# custom:
#   rule: sensitive-end-date
#   origin: ours
#   background: PIPL Article 19 asks for the shortest storage that the purpose needs; it does not speak of agreements
deny contains finding(rego.metadata.rule(), "spec.validity.notAfter", message) if {
	some [dataset, field, _] in sensitive
	not has_end_date
	message := sprintf("%s of dataset %s is sensitive: write validity.notAfter", [field.name, dataset.name])
}

has_end_date if input.agreement.validity.notAfter != ""

# METADATA
# title: Personal information is read by persons in named roles
# description: Without roles nobody could read it, since the access policy asks for a person in a role.
# custom:
#   rule: personal-roles
#   origin: ours
deny contains finding(rego.metadata.rule(), "spec.roles", message) if {
	some [dataset, field, _] in personal
	not has_roles
	message := sprintf("%s of dataset %s is personal: write the roles of the persons who may read it, such as GridWorker", [field.name, dataset.name])
}

has_roles if count(input.agreement.roles) > 0

# METADATA
# title: Biometric data for public safety only
# description: Every purpose of the agreement must be one of public safety. We do not take the exception by consent.
# custom:
#   rule: biometric-purpose
#   origin: ours
#   background: |
#     PIPL Article 26 says it of images and identification collected in public places, with an exception for separate
#     consent; the policy texts ask for prudent use of face recognition in public safety and the like (等), without "only"
deny contains finding(rego.metadata.rule(), "spec.purposes", message) if {
	some [dataset, field, _] in biometric
	not public_safety_only
	message := sprintf("%s of dataset %s is biometric: the purposes may only be of %v", [field.name, dataset.name, sort(public_safety)])
}

public_safety_only if {
	count(input.agreement.purposes) > 0
	every purpose in input.agreement.purposes {
		purpose in public_safety
	}
}

# METADATA
# title: Biometric data for the police only
# custom:
#   rule: biometric-consumer
#   origin: ours
#   background: So a household cannot be checked by face by anybody else, for example to look for shared flats (群租)
deny contains finding(rego.metadata.rule(), "spec.consumer", message) if {
	some [dataset, field, _] in biometric
	not police
	message := sprintf("%s of dataset %s is biometric: the consumer must be an Organization of type Police, not %s", [
		field.name,
		dataset.name,
		consumer_type,
	])
}

police if input.agreement.consumer.type == "Police"

# METADATA
# title: Biometric data with a case number only
# custom:
#   rule: biometric-case-number
#   origin: ours
deny contains finding(rego.metadata.rule(), "spec.caseNumberRequired", message) if {
	some [dataset, field, _] in biometric
	not asks_for_case_number
	message := sprintf("%s of dataset %s is biometric: write caseNumberRequired: true", [field.name, dataset.name])
}

asks_for_case_number if input.agreement.caseNumberRequired == true

# METADATA
# title: Companies never get data about key populations (重点人群)
# description: It holds for every field of such a dataset, personal or not, since being listed says it all.
# custom:
#   rule: key-population-company
#   origin: ours
#   background: The policy texts ask for key supervision of property companies (重点监管), not for a ban
deny contains finding(rego.metadata.rule(), sprintf("spec.datasets[%d]", [i]), message) if {
	some i, dataset in input.agreement.datasets
	dataset.category == "KeyPopulation"
	not known_not_for_profit
	message := sprintf("dataset %s is about key populations: consumer %s is of type %s, which never gets it; remove the dataset", [
		dataset.name,
		consumer_name,
		consumer_type,
	])
}

known_not_for_profit if {
	input.agreement.consumer.type != ""
	not input.agreement.consumer.type in for_profit
}

# METADATA
# title: Personal information is never for selling
# custom:
#   rule: personal-selling
#   origin: ours
deny contains finding(rego.metadata.rule(), sprintf("spec.purposes[%d]", [i]), message) if {
	count(personal) > 0
	some i, purpose in input.agreement.purposes
	purpose in selling
	message := sprintf("purpose %s is never allowed for personal fields: remove the purpose, or drop the personal fields", [purpose])
}

# METADATA
# title: What is not shared is not shared
# description: Sharing attribute 不予共享.
# custom:
#   rule: sharing-none
#   origin: law
#   citation: 政务数据共享条例 (国务院令第809号), for government data between departments; for other data the rule is ours
deny contains finding(rego.metadata.rule(), sprintf("spec.datasets[%d]", [i]), message) if {
	some i, dataset in input.agreement.datasets
	not shared(dataset)
	message := sprintf("dataset %s has sharing None: no agreement can open it; remove it", [dataset.name])
}

shared(dataset) if dataset.sharing in {"Unconditional", "Conditional"}

# METADATA
# title: Core data does not leave
# custom:
#   rule: core-data
#   origin: ours
#   background: 数据安全法 第二十一条 asks for stricter management of core data; the outright ban is ours
deny contains finding(rego.metadata.rule(), at, message) if {
	some [dataset, field, at] in leaving
	field.grade == "Core"
	message := sprintf("%s of dataset %s is of grade Core: it does not leave under an agreement; remove it", [field.name, dataset.name])
}

# METADATA
# title: The consumer's type, for messages
default consumer_type := "unknown"

consumer_type := input.agreement.consumer.type if input.agreement.consumer.type != ""

# METADATA
# title: The consumer's name, for messages
default consumer_name := "unknown"

consumer_name := input.agreement.consumer.name
