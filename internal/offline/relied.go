package offline

import (
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/approval"
)

// Digest gives the digest that approvals of an agreement sign. Its Datasets and its consumer must be in the files: it covers what the
// agreement relies on of them.
func (s *Set) Digest(a *v1alpha1.DataSharingAgreement) (string, error) {
	relied, err := s.RelyOn(a)
	if err != nil {
		return "", err
	}
	return approval.Digest(a, relied)
}

// RelyOn gives what an agreement relies on, from the Datasets and the Organizations in the files.
func (s *Set) RelyOn(a *v1alpha1.DataSharingAgreement) (approval.Relied, error) {
	consumer, err := named[*v1alpha1.Organization](s, a, "Organization", a.Spec.Consumer.Name)
	if err != nil {
		return approval.Relied{}, err
	}
	var datasets []*v1alpha1.Dataset
	namespaces := map[string]string{}
	for _, d := range a.Spec.Datasets {
		o, err := named[*v1alpha1.Dataset](s, a, "Dataset", d.Name)
		if err != nil {
			return approval.Relied{}, err
		}
		datasets = append(datasets, o)
		provider, err := named[*v1alpha1.Organization](s, a, "Organization", o.Spec.Provider.Name)
		if err != nil {
			return approval.Relied{}, err
		}
		namespaces[provider.Name] = provider.Namespace
	}
	return approval.RelyOn(a, datasets, consumer, namespaces)
}

// named gives the object of a name: that in the agreement's own namespace, else the one there is. Files may hold several platforms; where
// the guess is wrong the digest is of another namespace's object, and fits nothing.
func named[T client.Object](s *Set, a *v1alpha1.DataSharingAgreement, kind, name string) (found T, err error) {
	there := false
	for _, o := range s.Objects {
		typed, ok := o.Object.(T)
		if !ok || typed.GetName() != name || (there && typed.GetNamespace() != a.Namespace) {
			continue
		}
		if o.Invalid {
			return found, fmt.Errorf("%s/%s, on which DataSharingAgreement/%s relies, is not valid", kind, name, a.Name)
		}
		if typed.GetNamespace() == "" {
			return found, fmt.Errorf("%s/%s: the digest of DataSharingAgreement/%s covers its namespace; write metadata.namespace, or give -n", kind, name, a.Name)
		}
		found, there = typed, true
	}
	if !there {
		return found, fmt.Errorf("%s/%s is not in the files, and the digest of DataSharingAgreement/%s covers what it relies on of it; name the file that holds it too", kind, name, a.Name)
	}
	return found, nil
}
