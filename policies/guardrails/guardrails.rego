# METADATA
# title: Rules about agreements (红线规则)
# description: |
#   An agreement that breaks one of these rules never comes into force, whoever signed it. They run when an agreement is
#   submitted, when it is compiled, in the CLI and in CI, from this same file.
#
#   What it looks at: input.agreement (see policies.GuardAgreement), the agreement beside what it refers to: the consumer's
#   type and, for every dataset, its category, its sharing attribute and the fields that the agreement gives or picks records by.
#
#   Each rule says in its METADATA where it comes from:
#     custom.origin    "law" with custom.citation and custom.article, or "ours": a choice of this project that no text demands
#   A rule that is "ours" may lean on a text; custom.background then names it. Passing these rules does not make an
#   agreement lawful: they refuse what is plainly wrong and replace no legal review. A city's own rules stand in ConfigMaps,
#   look at the same input and add to these; they cannot take one away.
#
#   Everything that is not said counts as the worst case: a field without a mark is sensitive, a purpose that is not on a
#   list is not on the list, and a mask does not make a field less sensitive (only Drop does, for then nothing leaves).
package dizuo.guardrails

# METADATA
# title: The controlled list of purposes
# description: The same as in the API; marketing, advertising and profiling are not in it. A test holds the two together.
listed := {
	"Audit", "CoManagement", "CommunityGovernance", "CreditInformation", "DataPooling", "DisputeMediation", "ElderCare",
	"EmergencyResponse", "FireResponse", "HealthCare", "HomeVisit", "MasterData", "PublicSafety", "PublicService",
	"SafetyAlert", "SocialAssistance", "Statistics", "UnifiedReporting", "UrbanOperation",
}

# METADATA
# title: Purposes that count as public safety
public_safety := {"PublicSafety"}

# METADATA
# title: Organisations that act in statutory or public functions
authorities := {"Committee", "DataOffice", "Department", "Fire", "Health", "Hospital", "Police", "Township"}

# METADATA
# title: Organisations that are run for profit
# description: Merchants and advertisers are of type Company.
for_profit := {"Company", "PropertyCompany"}

# METADATA
# title: Categories that the law itself calls sensitive
# description: |
#   PIPL Article 28 names biometrics, health, financial accounts, whereabouts and persons under fourteen. Personal fields of
#   such a dataset are sensitive whatever their own mark says: a name in a list of patients says that its bearer is one.
sensitive_categories := {"Biometric", "Financial", "Health", "Location", "Minor"}

# METADATA
# title: The rank of a dataset's category, of a field's mark and of a class of data
# description: The classes C0 to C3 are ours. What is not known ranks highest.
category_rank := {
	"Ordinary": 0,
	"Financial": 2,
	"Health": 2,
	"Location": 2,
	"Minor": 2,
	"Biometric": 3,
	"KeyPopulation": 3,
	"Video": 3,
}

# METADATA
# title: The rank of a field's mark
personal_rank := {"None": 0, "Ordinary": 1, "Sensitive": 2, "Biometric": 3}

# METADATA
# title: The rank of a class of data
class_rank := {"C0": 0, "C1": 1, "C2": 2, "C3": 3}

# METADATA
# title: The consumer
default consumer := {}

consumer := input.agreement.consumer

# METADATA
# title: The fields that leave under the agreement
# description: |
#   Those by which records are picked are told with the records, given or not: a list of names that is picked by an illness says of
#   each name that its bearer has it.
leaving contains [dataset, field, at] if {
	some i, dataset in input.agreement.datasets
	some j, field in dataset.fields
	object.get(field, "mask", "") != "Drop"
	at := sprintf("spec.datasets[%d].fields[%d]", [i, j])
}

leaving contains [dataset, field, at] if {
	some i, dataset in input.agreement.datasets
	some j, field in dataset.picked
	at := sprintf("spec.datasets[%d].rows.requirements[%d].column", [i, j])
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

sensitive contains [dataset, field, at] if {
	some [dataset, field, at] in personal
	dataset.category in sensitive_categories
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
	"citation": trim_space(concat(" ", [object.get(about.custom, "citation", ""), object.get(about.custom, "article", "")])),
	"field": field,
	"message": message,
}

# METADATA
# title: Personal information needs a legal basis
# description: One of the grounds of Article 13, with the text that gives it.
# custom:
#   rule: personal-legal-basis
#   origin: law
#   citation: 个人信息保护法 (PIPL)
#   article: 第十三条
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
#   citation: 个人信息保护法 (PIPL)
#   article: 第二十九条
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
#   citation: 个人信息保护法 (PIPL)
#   article: 第五十五条
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
# title: Purposes are from the controlled list
# description: So nothing is shared for marketing, advertising, profiling or scoring; there is no purpose for them.
# custom:
#   rule: purpose-listed
#   origin: ours
deny contains finding(rego.metadata.rule(), sprintf("spec.purposes[%d]", [i]), message) if {
	some i, purpose in input.agreement.purposes
	not purpose in listed
	message := sprintf("%s is no purpose for which data is shared: write one of %s", [purpose, concat(", ", sort(listed))])
}

# METADATA
# title: What is not shared is not shared
# description: Sharing attribute 不予共享.
# custom:
#   rule: sharing-none
#   origin: ours
#   background: |
#     政务数据共享条例 (国务院令第809号) has the three attributes for government data between departments; that no agreement
#     opens what is marked so, and that it holds for data of companies too, is ours
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
# title: The impact assessment is made beforehand
# description: Article 55 says before the processing (事前). A day is given for time zones.
# custom:
#   rule: impact-assessment-before
#   origin: law
#   citation: 个人信息保护法 (PIPL)
#   article: 第五十五条
deny contains finding(rego.metadata.rule(), "spec.impactAssessment.date", message) if {
	assessed := time.parse_ns("2006-01-02", input.agreement.impactAssessmentDate)
	assessed > time.parse_rfc3339_ns(input.agreement.validity.notBefore) + (((24 * 60) * 60) * 1000000000)
	message := sprintf("the assessment of %s is later than validity.notBefore: assess first, or let the agreement begin later", [input.agreement.impactAssessmentDate])
}

# METADATA
# title: Provision to another processor on consent needs a separate consent
# description: |
#   Article 23 asks for the person's separate consent to the provision. Where another ground of Article 13 carries it, no
#   consent is asked; whether that ground carries this provision is for the legal review.
# custom:
#   rule: provision-separate-consent
#   origin: law
#   citation: 个人信息保护法 (PIPL)
#   article: 第二十三条
deny contains finding(rego.metadata.rule(), "spec.legalBasis.kind", message) if {
	input.agreement.relationship == "Provision"
	some [dataset, field, _] in personal
	input.agreement.legalBasis.kind == "Consent"
	message := sprintf("%s of dataset %s is personal and provided to another processor: write kind SeparateConsent, or another ground", [field.name, dataset.name])
}

# METADATA
# title: Companies get personal information on the person's separate consent, or on entrustment
# description: A company has no statutory function that could stand in for the consent.
# custom:
#   rule: company-separate-consent
#   origin: ours
#   background: PIPL Articles 13 and 23; the texts ask for key supervision of property companies' use of data (重点监管)
deny contains finding(rego.metadata.rule(), "spec.legalBasis.kind", message) if {
	some [dataset, field, _] in personal
	not known_not_for_profit
	not consented_or_entrusted
	message := sprintf("%s of dataset %s is personal and %s is of type %s: write legalBasis.kind SeparateConsent, or relationship EntrustedProcessing", [
		field.name,
		dataset.name,
		consumer_name,
		consumer_type,
	])
}

consented_or_entrusted if input.agreement.legalBasis.kind == "SeparateConsent"

consented_or_entrusted if input.agreement.relationship == "EntrustedProcessing"

# METADATA
# title: Entrusted processing has a term
# description: Article 21 has the parties agree on its purpose, term (期限), means, kinds of information and protection.
# custom:
#   rule: entrusted-term
#   origin: law
#   citation: 个人信息保护法 (PIPL)
#   article: 第二十一条
deny contains finding(rego.metadata.rule(), "spec.validity.notAfter", message) if {
	input.agreement.relationship == "EntrustedProcessing"
	count(personal) > 0
	not has_end_date
	message := "entrusted processing of personal fields has a term: write validity.notAfter"
}

# METADATA
# title: Entrusted processing goes no further
# custom:
#   rule: entrusted-no-onward
#   origin: ours
#   background: By PIPL Article 21 the entrusted party may not entrust another without consent; we take no consent beforehand
deny contains finding(rego.metadata.rule(), "spec.obligations.noOnward", message) if {
	input.agreement.relationship == "EntrustedProcessing"
	count(personal) > 0
	not no_onward
	message := "who is entrusted with personal fields may not pass them on: write obligations.noOnward: true"
}

no_onward if input.agreement.obligations.noOnward == true

# METADATA
# title: Relationship Sharing is between authorities
# description: Data that is shared without conditions is no matter of relationships.
# custom:
#   rule: sharing-between-authorities
#   origin: ours
#   background: 政务数据共享条例 (国务院令第809号) is about government departments; with others the ground is PIPL
deny contains finding(rego.metadata.rule(), "spec.relationship", message) if {
	not other_relationship
	some dataset in input.agreement.datasets
	dataset.sharing != "Unconditional"
	some party in [consumer, object.get(dataset, "provider", {})]
	not authority(party)
	message := sprintf("%s is of type %s, and relationship Sharing is between authorities: write Provision, EntrustedProcessing or JointProcessing", [
		object.get(party, "name", "unknown"),
		object.get(party, "type", "unknown"),
	])
}

other_relationship if input.agreement.relationship in {"EntrustedProcessing", "JointProcessing", "Provision"}

authority(party) if party.type in authorities

# METADATA
# title: The class of data that a field of a dataset makes
class_of(dataset, field) := max([
	object.get(category_rank, object.get(dataset, "category", ""), 3),
	object.get(personal_rank, object.get(field, "personal", ""), 3),
])

# METADATA
# title: Nobody is given data above its clearance
# description: The class is the highest that category and marks of the fields that leave make; only Drop lowers it.
# custom:
#   rule: clearance
#   origin: ours
#   background: The texts ask for classes and grades (分类分级) and precise authorisation (精准化授权), and define no class
deny contains finding(rego.metadata.rule(), at, message) if {
	some i, dataset in input.agreement.datasets
	ranks := [class_of(dataset, field) | some [d, field, _] in leaving; d == dataset]
	class := sprintf("C%d", [max(ranks)])
	class_rank[class] > object.get(class_rank, object.get(consumer, "clearance", ""), -1)
	at := sprintf("spec.datasets[%d]", [i])
	message := sprintf("what is given of dataset %s is of class %s, and %s is cleared for %s: give less, or have the platform raise spec.clearance of the Organization", [
		dataset.name,
		class,
		consumer_name,
		object.get(consumer, "clearance", "nothing"),
	])
}

# METADATA
# title: Nobody gives data to itself
# description: Two parties look at each agreement; one that is both would approve its own.
# custom:
#   rule: consumer-is-not-provider
#   origin: ours
deny contains finding(rego.metadata.rule(), "spec.consumer", message) if {
	some dataset in input.agreement.datasets
	dataset.provider.name == input.agreement.consumer.name
	message := sprintf("%s is the provider of dataset %s and needs no agreement to read it: write another consumer", [consumer_name, dataset.name])
}

# METADATA
# title: Property companies get records of their own compounds only
# description: Without both lists nothing would hold the company to its compounds.
# custom:
#   rule: property-compounds
#   origin: ours
#   background: The policy texts ask for key supervision of property companies' use of data (重点监管)
deny contains finding(rego.metadata.rule(), sprintf("spec.datasets[%d]", [i]), message) if {
	input.agreement.consumer.type == "PropertyCompany"
	some i, dataset in input.agreement.datasets
	dataset.sharing != "Unconditional"
	not held_to_compounds(dataset)
	message := sprintf("%s reads records of its own compounds only: write spec.compounds of the Organization and spec.compoundColumn of Dataset %s", [
		consumer_name,
		dataset.name,
	])
}

held_to_compounds(dataset) if {
	count(input.agreement.consumer.compounds) > 0
	dataset.compoundColumn != ""
}

# METADATA
# title: What property companies know of residents goes to no company
# description: Advertisers are companies; a consent does not open this.
# custom:
#   rule: property-to-company
#   origin: ours
#   background: The policy texts ask for key supervision of property companies' use of data (重点监管), not for a ban
deny contains finding(rego.metadata.rule(), at, message) if {
	some [dataset, field, at] in personal
	not provider_not_property(dataset)
	not known_not_for_profit
	message := sprintf("%s of dataset %s is what a property company knows of residents: %s is of type %s and never gets it; remove the field", [
		field.name,
		dataset.name,
		consumer_name,
		consumer_type,
	])
}

provider_not_property(dataset) if {
	dataset.provider.type != ""
	dataset.provider.type != "PropertyCompany"
}

# METADATA
# title: On consent, data of minors is read with the guardian's consent on record
# description: Article 31 asks for the consent of a parent or guardian of who is under fourteen. The dataset must have it looked up.
# custom:
#   rule: minors-guardian
#   origin: law
#   citation: 个人信息保护法 (PIPL)
#   article: 第三十一条
deny contains finding(rego.metadata.rule(), sprintf("spec.datasets[%d]", [i]), message) if {
	some i, dataset in input.agreement.datasets
	dataset.category == "Minor"
	some [d, _, _] in personal
	d == dataset
	input.agreement.legalBasis.kind in {"Consent", "SeparateConsent"}
	not consent_looked_up(dataset)
	message := sprintf("dataset %s is about minors: write spec.consent of the Dataset with required: true and a scope, so that the guardian's consent is looked up", [dataset.name])
}

consent_looked_up(dataset) if {
	dataset.consent.required == true
	dataset.consent.scope != ""
}

# METADATA
# title: Credit information is of listed items only
# description: Each dataset is an item of the catalogue, nothing sensitive is among the fields, and the purpose stands alone.
# custom:
#   rule: credit-listed-fields
#   origin: ours
#   background: |
#     征信业管理条例 第十四条 bans religion, genes, fingerprints, blood type and illness from credit information; the texts ask
#     for listed fields
deny contains finding(rego.metadata.rule(), sprintf("spec.datasets[%d]", [i]), message) if {
	"CreditInformation" in input.agreement.purposes
	some i, dataset in input.agreement.datasets
	object.get(dataset, "itemCode", "") == ""
	message := sprintf("dataset %s is no item of the catalogue: credit information is of listed items only; write spec.itemCode of the Dataset, or take the purpose out", [dataset.name])
}

# METADATA
# title: Credit information is nothing sensitive
# custom:
#   rule: credit-nothing-sensitive
#   origin: ours
#   background: 征信业管理条例 第十四条 bans religion, genes, fingerprints, blood type and illness; sensitive is wider
deny contains finding(rego.metadata.rule(), at, message) if {
	"CreditInformation" in input.agreement.purposes
	some [dataset, field, at] in sensitive
	message := sprintf("%s of dataset %s is sensitive and no credit information: remove the field, or take the purpose out", [field.name, dataset.name])
}

# METADATA
# title: Credit information is read for nothing else
# custom:
#   rule: credit-alone
#   origin: ours
deny contains finding(rego.metadata.rule(), "spec.purposes", message) if {
	"CreditInformation" in input.agreement.purposes
	count(input.agreement.purposes) > 1
	message := "CreditInformation stands alone: write another agreement for the other purposes"
}

# METADATA
# title: Aggregates of one dataset are cut one way for one consumer
# description: |
#   Two tables over different dimensions can be subtracted from each other until a small group shows. The agreement that was
#   there first keeps its dimensions; input.agreement.others has those of the same consumer that came before.
# custom:
#   rule: aggregates-overlap
#   origin: ours
deny contains finding(rego.metadata.rule(), "spec.aggregates.dimensions", message) if {
	some dataset in input.agreement.datasets
	some other in input.agreement.others
	dataset.name in other.datasets
	dimensions(other.dimensions) != dimensions(input.agreement.aggregates.dimensions)
	message := sprintf("agreement %s already gives %s aggregates of dataset %s by other dimensions: write the same ones (%s), or change that agreement", [
		other.name,
		consumer_name,
		dataset.name,
		concat(", ", sort(other.dimensions)),
	])
}

dimensions(list) := {name | some name in list}

# METADATA
# title: Break-glass is reviewed by somebody else
# custom:
#   rule: break-glass-reviewer
#   origin: ours
deny contains finding(rego.metadata.rule(), "spec.breakGlass.reviewer", message) if {
	input.agreement.breakGlass.reviewer == input.agreement.consumer.name
	message := sprintf("%s reads and cannot review its own emergencies: write another organisation, such as the provider or the data office", [consumer_name])
}

# METADATA
# title: The consumer's type, for messages
default consumer_type := "unknown"

consumer_type := input.agreement.consumer.type if input.agreement.consumer.type != ""

# METADATA
# title: The consumer's name, for messages
default consumer_name := "unknown"

consumer_name := input.agreement.consumer.name
