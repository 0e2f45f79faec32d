// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Community is a village or urban community, 村(社区): a tenant of the platform.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,path=communities,shortName=com,categories=dizuo
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Division",type=string,JSONPath=`.spec.division`
// +kubebuilder:printcolumn:name="Devices",type=integer,JSONPath=`.status.devices.total`
// +kubebuilder:printcolumn:name="Online",type=integer,JSONPath=`.status.devices.online`
// +kubebuilder:printcolumn:name="Cases",type=integer,JSONPath=`.status.openCases`
// +kubebuilder:printcolumn:name="Edges",type=integer,JSONPath=`.status.edgeNodes.total`
// +kubebuilder:printcolumn:name="Connected",type=integer,JSONPath=`.status.edgeNodes.connected`,priority=1
// +kubebuilder:printcolumn:name="Workspace",type=string,JSONPath=`.status.workspaceNamespace`,priority=1
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.displayName`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 40 && !self.metadata.name.contains('.')",message="the community's name becomes part of topics and namespaces: write at most 40 lower-case letters, digits and hyphens, no dot, and put the full name into spec.displayName"
type Community struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the object's metadata. The name never changes, also when the division code does. No dot, at most 40 characters.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	// +required
	Spec CommunitySpec `json:"spec"`
	// status is how things stand.
	// +optional
	// +kubebuilder:default:={"observedGeneration":0}
	Status CommunityStatus `json:"status,omitzero"`
}

// CommunityList is a list of Communities.
// +kubebuilder:object:root=true
type CommunityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Community `json:"items"`
}

// CommitteeKind is the kind of residents' or villagers' committee, after the urban-rural classification of the statistics office.
// +kubebuilder:validation:Enum=Urban;Village;Other
type CommitteeKind string

// Committee kinds.
const (
	// CommitteeUrban is a residents' committee (居民委员会).
	CommitteeUrban CommitteeKind = "Urban"
	// CommitteeVillage is a villagers' committee (村民委员会).
	CommitteeVillage CommitteeKind = "Village"
	// CommitteeOther is an area of the same level without one, e.g. a development zone's.
	CommitteeOther CommitteeKind = "Other"
)

// CommunitySpec is what is wanted of a community.
// +kubebuilder:validation:XValidation:rule="!has(self.formerDivisions) || !self.formerDivisions.exists(d, d == self.division)",message="division is the present code: leave it out of formerDivisions"
// +kubebuilder:validation:XValidation:rule="!has(self.grids) || self.grids.all(g, !has(g.compounds) || g.compounds.all(c, has(self.compounds) && self.compounds.exists(k, k.name == c)))",message="a grid names a compound that is not in spec.compounds: add it there, or correct the name"
type CommunitySpec struct {
	// displayName is the name people read, e.g. `荆胡社区`. Unset: the object's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// division is the 12-digit statistical code: 6 digits of GB/T 2260, 3 of GB/T 10114, 3 of the statistics office. It may
	// change; then put the old one into formerDivisions. Unique among all platforms.
	// +required
	// +kubebuilder:validation:MaxLength=12
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]{11}$`
	Division string `json:"division"`
	// formerDivisions are codes that the community had before. Records under them stay its own.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=12
	// +kubebuilder:validation:items:Pattern=`^[1-9][0-9]{11}$`
	FormerDivisions []string `json:"formerDivisions,omitempty"`
	// committee is the kind of committee. Default: `Urban`.
	// +optional
	// +kubebuilder:default=Urban
	Committee CommitteeKind `json:"committee,omitempty"`
	// address has the names of the levels above, for people to read. Nothing is computed from it: the code decides.
	// +optional
	Address *AdministrativeAddress `json:"address,omitempty"`
	// compounds are the residential compounds (小区, 院落). Ratings and coverage count compounds.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	Compounds []Compound `json:"compounds,omitempty"`
	// posts (岗位) of the community itself: a scenario's responders of these posts are called to cases anywhere in it, and grids
	// without posts of their own have these. Posts, not people: people, telephones and shifts live in the roster, behind the grid API.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Posts []string `json:"posts,omitempty"`
	// grids are the grids (网格). Unset: the community is one grid.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Grids []Grid `json:"grids,omitempty"`
	// population has figures for reports and coverage. Figures only, never a list of people.
	// +optional
	Population *Population `json:"population,omitempty"`
	// scenarios switches scenarios on or off in this community and sets parameters, over the platform's.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Scenarios []ScenarioSelection `json:"scenarios,omitempty"`
	// workspace asks for a namespace of the community's own, for local applications: with quota, default-deny network policy
	// and roles. Unset: none.
	// +optional
	Workspace *Workspace `json:"workspace,omitempty"`
}

// AdministrativeAddress has the display names of the levels above a community.
type AdministrativeAddress struct {
	// province is the province (省, 自治区, 直辖市).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Province string `json:"province,omitempty"`
	// city is the city (市, 州).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	City string `json:"city,omitempty"`
	// county is the county (县, 市, 区, 旗) or development zone.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	County string `json:"county,omitempty"`
	// township is the street or town (街道, 镇, 乡).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Township string `json:"township,omitempty"`
}

// CompoundKind says whether a compound is new or old (新建, 老旧), which coverage targets tell apart.
// +kubebuilder:validation:Enum=New;Old
type CompoundKind string

// Compound kinds.
const (
	CompoundNew CompoundKind = "New"
	CompoundOld CompoundKind = "Old"
)

// Compound is a residential compound (小区).
type Compound struct {
	// name is the compound's name in rows and agreements, unique in the community.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// displayName is the name people read.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// kind is `New` (新建) or `Old` (老旧). Default: `Old`.
	// +optional
	// +kubebuilder:default=Old
	Kind CompoundKind `json:"kind,omitempty"`
	// households is the number of homes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Households int32 `json:"households,omitempty"`
}

// Grid is a grid (网格) of a community.
type Grid struct {
	// name is the grid's name in rows, unique in the community.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// code is the grid's code, checked by the platform's gridCodeScheme. Unset: none yet.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[0-9A-Za-z-]+$`
	Code string `json:"code,omitempty"`
	// displayName is the name people read, e.g. `第一网格`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// posts (岗位) that a case of this grid goes to, in order. Never a person's name or telephone.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Posts []string `json:"posts,omitempty"`
	// compounds are the compounds in this grid.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Compounds []string `json:"compounds,omitempty"`
	// microGrids are the micro-grids (微网格): a case goes to them first.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	MicroGrids []MicroGrid `json:"microGrids,omitempty"`
}

// MicroGrid is a micro-grid (微网格): some buildings of a grid.
type MicroGrid struct {
	// name is the micro-grid's name in rows, unique in the grid.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`
	// code is the micro-grid's code.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^[0-9A-Za-z-]+$`
	Code string `json:"code,omitempty"`
	// displayName is the name people read.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	DisplayName string `json:"displayName,omitempty"`
	// posts (岗位) that a case of this micro-grid goes to, in order. Never a person's name or telephone.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Posts []string `json:"posts,omitempty"`
	// buildings are the buildings (楼栋) in it, as rows name them, e.g. `3号楼`. Never a home's door number.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=32
	Buildings []string `json:"buildings,omitempty"`
}

// Population has figures about a community.
type Population struct {
	// households is the number of homes.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Households int32 `json:"households,omitempty"`
	// residents is the number of people who live there (常住人口).
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Residents int32 `json:"residents,omitempty"`
	// elderly is how many of them are 60 or older.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Elderly int32 `json:"elderly,omitempty"`
	// elderlyLivingAlone is how many elderly people live alone (独居老人).
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	ElderlyLivingAlone int32 `json:"elderlyLivingAlone,omitempty"`
	// disabled is how many residents have a disability certificate.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Disabled int32 `json:"disabled,omitempty"`
	// children is how many residents are under 18.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000000
	Children int32 `json:"children,omitempty"`
	// asOf is the date of the figures, as YYYY-MM-DD.
	// +optional
	// +kubebuilder:validation:MaxLength=10
	// +kubebuilder:validation:Pattern=`^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$`
	AsOf string `json:"asOf,omitempty"`
}

// Workspace asks for a namespace of the community's own.
type Workspace struct {
	// quota bounds what runs there.
	// +optional
	// +kubebuilder:default={}
	Quota WorkspaceQuota `json:"quota,omitzero"`
	// admins may deploy applications there. Write groups; a user name here is an account id, never a person's name.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	Admins []WorkspaceSubject `json:"admins,omitempty"`
}

// WorkspaceQuota bounds what runs in a workspace.
type WorkspaceQuota struct {
	// pods is the number of pods. Default: 20.
	// +optional
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Pods int32 `json:"pods,omitempty"`
	// cpu is the sum of requests and of limits, in cores. Default: 2.
	// +optional
	// +kubebuilder:default="2"
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && sign(quantity(string(self))) >= 0",message="write an amount such as 500m, 2, 256Mi or 10Gi"
	CPU resource.Quantity `json:"cpu,omitzero"`
	// memory is the sum of requests and of limits, in bytes. Default: 4Gi.
	// +optional
	// +kubebuilder:default="4Gi"
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && sign(quantity(string(self))) >= 0",message="write an amount such as 500m, 2, 256Mi or 10Gi"
	Memory resource.Quantity `json:"memory,omitzero"`
	// storage is the sum of volumes asked for, in bytes. Default: 20Gi.
	// +optional
	// +kubebuilder:default="20Gi"
	// +kubebuilder:validation:XValidation:rule="isQuantity(string(self)) && sign(quantity(string(self))) >= 0",message="write an amount such as 500m, 2, 256Mi or 10Gi"
	Storage resource.Quantity `json:"storage,omitzero"`
}

// WorkspaceSubjectKind is who a workspace role is given to.
// +kubebuilder:validation:Enum=User;Group
type WorkspaceSubjectKind string

// Subject kinds.
const (
	SubjectUser  WorkspaceSubjectKind = "User"
	SubjectGroup WorkspaceSubjectKind = "Group"
)

// WorkspaceSubject is a user or group as the API server knows it.
type WorkspaceSubject struct {
	// kind is `User` or `Group`. Default: `Group`.
	// +optional
	// +kubebuilder:default=Group
	Kind WorkspaceSubjectKind `json:"kind,omitempty"`
	// name is the account id or the group. Never a person's name or telephone.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('system:')",message="system: names belong to the cluster: write a group of your own"
	Name string `json:"name"`
}

// CommunityStatus is how a community stands.
type CommunityStatus struct {
	CommonStatus `json:",inline"`

	// workspaceNamespace is the namespace made for the community.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	WorkspaceNamespace string `json:"workspaceNamespace,omitempty"`
	// devices counts the devices whose row names the community, by presence.
	// +optional
	Devices *DeviceCounts `json:"devices,omitempty"`
	// openCases is how many of its cases are neither closed nor void.
	// +optional
	// +kubebuilder:validation:Minimum=0
	OpenCases int32 `json:"openCases,omitempty"`
	// edgeNodes counts the edge nodes that serve the community; absent where none does.
	// +optional
	EdgeNodes *EdgeNodeCounts `json:"edgeNodes,omitempty"`
}

// EdgeNodeCounts counts edge nodes.
type EdgeNodeCounts struct {
	// total is how many serve the community.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Total int32 `json:"total"`
	// connected is how many of them are heard.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Connected int32 `json:"connected"`
}
