// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of every kind of Dizuo.
const GroupName = "dizuo.io"

// Names that objects carry.
const (
	// LabelPlatform, on a namespace without a platform of its own, names the namespace of the platform that its objects
	// belong to; a namespace holds at most one platform. That platform must admit the namespace in `spec.members`.
	LabelPlatform = "dizuo.io/platform"
	// Finalizer keeps an object until everything in its inventory is gone.
	Finalizer = "dizuo.io/finalizer"
)

var (
	// SchemeGroupVersion is the group and version of the types in this package.
	SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}
	// SchemeBuilder collects the functions that add the types to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	// AddToScheme adds all kinds of this group and version to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

// Resource returns the group-qualified form of a resource name.
func Resource(resource string) schema.GroupResource {
	return SchemeGroupVersion.WithResource(resource).GroupResource()
}

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion,
		&GridPlatform{}, &GridPlatformList{},
		&Community{}, &CommunityList{},
		&Organization{}, &OrganizationList{},
		&DeviceProfile{}, &DeviceProfileList{},
		&DeviceFleet{}, &DeviceFleetList{},
		&EdgeNode{}, &EdgeNodeList{},
		&Scenario{}, &ScenarioList{},
		&Dataset{}, &DatasetList{},
		&DataSharingAgreement{}, &DataSharingAgreementList{},
	)
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}
