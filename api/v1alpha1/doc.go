// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the API of Dizuo (底座): the kinds that say what a community platform is.
//
// No field of any kind holds personal data (个人信息). Grids name posts, not people; homes and residents appear only as
// random platform ids; a device list with addresses comes from a Secret or an artefact, never inline.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="applyconfiguration"
// +groupName=dizuo.io
package v1alpha1
