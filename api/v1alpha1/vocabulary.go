// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Purpose is what data is read for: a controlled list. Marketing is not in it.
// +kubebuilder:validation:Enum=PublicSafety;CoManagement;CommunityGovernance;SafetyAlert;ElderCare;HealthCare;HomeVisit;SocialAssistance;FireResponse;EmergencyResponse;UrbanOperation;PublicService;DisputeMediation;MasterData;UnifiedReporting;DataPooling;CreditInformation;Statistics;Audit
type Purpose string

// Purposes.
const (
	// PurposePublicSafety: 社区治安防控. The only one for which biometric data may be given.
	PurposePublicSafety Purpose = "PublicSafety"
	// PurposeCoManagement: 三级共管, of police, community and property company.
	PurposeCoManagement Purpose = "CoManagement"
	// PurposeCommunityGovernance: 社区治理.
	PurposeCommunityGovernance Purpose = "CommunityGovernance"
	// PurposeSafetyAlert: warnings of scenarios, e.g. no exit, no power use.
	PurposeSafetyAlert Purpose = "SafetyAlert"
	// PurposeElderCare: 养老服务, 医养结合.
	PurposeElderCare Purpose = "ElderCare"
	// PurposeHealthCare: 医疗卫生服务.
	PurposeHealthCare Purpose = "HealthCare"
	// PurposeHomeVisit: 巡访.
	PurposeHomeVisit Purpose = "HomeVisit"
	// PurposeSocialAssistance: 社会救助.
	PurposeSocialAssistance Purpose = "SocialAssistance"
	// PurposeFireResponse: 消防联动.
	PurposeFireResponse Purpose = "FireResponse"
	// PurposeEmergencyResponse: 应急处置.
	PurposeEmergencyResponse Purpose = "EmergencyResponse"
	// PurposeUrbanOperation: 城市运行一体化管理.
	PurposeUrbanOperation Purpose = "UrbanOperation"
	// PurposePublicService: 公共服务, 政务服务.
	PurposePublicService Purpose = "PublicService"
	// PurposeDisputeMediation: 矛盾纠纷调解.
	PurposeDisputeMediation Purpose = "DisputeMediation"
	// PurposeMasterData: addresses, place names, parcels.
	PurposeMasterData Purpose = "MasterData"
	// PurposeUnifiedReporting: 一套表.
	PurposeUnifiedReporting Purpose = "UnifiedReporting"
	// PurposeDataPooling: 数据归集.
	PurposeDataPooling Purpose = "DataPooling"
	// PurposeCreditInformation: 信用信息, listed fields only.
	PurposeCreditInformation Purpose = "CreditInformation"
	// PurposeStatistics: figures without persons.
	PurposeStatistics Purpose = "Statistics"
	// PurposeAudit: supervision of how data is used.
	PurposeAudit Purpose = "Audit"
)

// Purposes returns every purpose of the controlled list, in the order of the list.
func Purposes() []Purpose {
	return []Purpose{
		PurposePublicSafety, PurposeCoManagement, PurposeCommunityGovernance, PurposeSafetyAlert, PurposeElderCare,
		PurposeHealthCare, PurposeHomeVisit, PurposeSocialAssistance, PurposeFireResponse, PurposeEmergencyResponse,
		PurposeUrbanOperation, PurposePublicService, PurposeDisputeMediation, PurposeMasterData, PurposeUnifiedReporting,
		PurposeDataPooling, PurposeCreditInformation, PurposeStatistics, PurposeAudit,
	}
}

// Roles of persons that the shipped samples and guardrails use. A city may use others, in PascalCase.
const (
	RoleGridWorker          = "GridWorker"
	RoleCommunityWorker     = "CommunityWorker"
	RoleCommunityDoctor     = "CommunityDoctor"
	RoleSocialWorker        = "SocialWorker"
	RoleCivilAffairsOfficer = "CivilAffairsOfficer"
	RoleHealthOfficer       = "HealthOfficer"
	RolePoliceOfficer       = "PoliceOfficer"
	RoleFireOfficer         = "FireOfficer"
	RoleCaseHandler         = "CaseHandler"
	RolePropertyManager     = "PropertyManager"
	RoleDataOfficer         = "DataOfficer"
	RoleAnalyst             = "Analyst"
	RoleAuditor             = "Auditor"
)

// Roles returns the roles of persons named above.
func Roles() []string {
	return []string{
		RoleGridWorker, RoleCommunityWorker, RoleCommunityDoctor, RoleSocialWorker, RoleCivilAffairsOfficer, RoleHealthOfficer,
		RolePoliceOfficer, RoleFireOfficer, RoleCaseHandler, RolePropertyManager, RoleDataOfficer, RoleAnalyst, RoleAuditor,
	}
}

// Keys of claims in a status.
const (
	ClaimName      = "Name"
	ClaimDivision  = "Division"
	ClaimGridCode  = "GridCode"
	ClaimNamespace = "Namespace"
	ClaimItem      = "Item"
)

// Keys of the Secrets that the API names.
const (
	// SecretKeyWebhook is the key of a webhook's signing secret.
	SecretKeyWebhook = "secret"
	// SecretKeyDSN is the default key of a connection string.
	SecretKeyDSN = "dsn"
)

// DefaultSLA returns the times of the severities that a platform does not set. They are ours: no policy text gives one. A fire is out, and a
// case verified, long after somebody is there: resolve leaves time for that.
func DefaultSLA() []SLA {
	entry := func(s Severity, acknowledge, onSite, resolve time.Duration) SLA {
		return SLA{
			Severity: s, Acknowledge: metav1.Duration{Duration: acknowledge}, OnSite: &metav1.Duration{Duration: onSite}, Resolve: &metav1.Duration{Duration: resolve}, Clock: ClockElapsed,
		}
	}
	return []SLA{
		entry(SeverityCritical, 2*time.Minute, 10*time.Minute, 4*time.Hour),
		entry(SeverityHigh, 10*time.Minute, 30*time.Minute, 24*time.Hour),
		entry(SeverityMedium, 30*time.Minute, 4*time.Hour, 72*time.Hour),
		entry(SeverityLow, 4*time.Hour, 72*time.Hour, 168*time.Hour),
	}
}

// Rank orders severities: 0 is Low, 3 is Critical, -1 is none of them.
func (s Severity) Rank() int {
	return slices.Index([]Severity{SeverityLow, SeverityMedium, SeverityHigh, SeverityCritical}, s)
}

// Rank orders data classes: 0 is C0, 3 is C3, -1 is none of them.
func (c DataClass) Rank() int {
	return slices.Index([]DataClass{DataClassC0, DataClassC1, DataClassC2, DataClassC3}, c)
}

// Rank orders grades: 0 is General1, 5 is Core, -1 is none of them.
func (g Grade) Rank() int {
	return slices.Index([]Grade{GradeGeneral1, GradeGeneral2, GradeGeneral3, GradeGeneral4, GradeImportant, GradeCore}, g)
}

// EffectiveClearance returns the highest data class that the organisation may be given: what its spec says, else what its
// type gives (ours).
func (s *OrganizationSpec) EffectiveClearance() DataClass {
	if s.Clearance != "" {
		return s.Clearance
	}
	switch s.Type {
	case OrganizationPolice:
		return DataClassC3
	case OrganizationDepartment, OrganizationTownship, OrganizationCommittee, OrganizationFire, OrganizationHealth,
		OrganizationHospital, OrganizationDataOffice:
		return DataClassC2
	case OrganizationUtility, OrganizationPropertyCompany, OrganizationCompany, OrganizationSocialOrganization:
		return DataClassC1
	}
	return DataClassC0
}

// Table gives the table of a source of type Table: the dataset's name, hyphens as underscores, where the spec names none.
func (o *Dataset) Table() string {
	if o.Spec.Source.Table != "" {
		return o.Spec.Source.Table
	}
	return strings.ReplaceAll(o.Name, "-", "_")
}

// Key gives the column that orders records: `id` where the spec names none.
func (o *Dataset) Key() string {
	if o.Spec.KeyColumn != "" {
		return o.Spec.KeyColumn
	}
	return "id"
}

// MayHold says whether a member namespace of this role may hold objects of the kind.
func (r MemberRole) MayHold(kind string) bool {
	switch r {
	case MemberCounty:
		return kind != "GridPlatform"
	case MemberVendor:
		return kind == "DeviceFleet"
	case MemberProvider:
		return kind == "Dataset" || kind == "DataSharingAgreement"
	}
	return false
}

// DefaultEnabled says whether the scenario runs where no platform names it: only without personal data, unless it says so.
func (s *ScenarioSpec) DefaultEnabled() bool {
	if s.Enabled != nil {
		return *s.Enabled
	}
	return s.DataClass == DataClassC0
}

// GetCommonStatus returns the part of the status that every kind has.
func (o *GridPlatform) GetCommonStatus() *CommonStatus { return &o.Status.CommonStatus }

// GetCommonStatus returns the part of the status that every kind has.
func (o *Community) GetCommonStatus() *CommonStatus { return &o.Status.CommonStatus }

// GetCommonStatus returns the part of the status that every kind has.
func (o *Organization) GetCommonStatus() *CommonStatus { return &o.Status.CommonStatus }

// GetCommonStatus returns the part of the status that every kind has.
func (o *DeviceProfile) GetCommonStatus() *CommonStatus { return &o.Status.CommonStatus }

// GetCommonStatus returns the part of the status that every kind has.
func (o *DeviceFleet) GetCommonStatus() *CommonStatus { return &o.Status.CommonStatus }

// GetCommonStatus returns the part of the status that every kind has.
func (o *EdgeNode) GetCommonStatus() *CommonStatus { return &o.Status.CommonStatus }

// GetCommonStatus returns the part of the status that every kind has.
func (o *Scenario) GetCommonStatus() *CommonStatus { return &o.Status.CommonStatus }

// GetCommonStatus returns the part of the status that every kind has.
func (o *Dataset) GetCommonStatus() *CommonStatus { return &o.Status.CommonStatus }

// GetCommonStatus returns the part of the status that every kind has.
func (o *DataSharingAgreement) GetCommonStatus() *CommonStatus { return &o.Status.CommonStatus }
