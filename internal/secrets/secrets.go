// Package secrets reads Secrets in the namespaces whose owners admitted Dizuo, and nowhere else. The operator holds no
// right to Secrets across the cluster: each admitted namespace has an informer of its own, started when first asked for.
// An informer holds metadata only. The content of a Secret is read when it is asked for and kept while it stays the same, so
// what a namespace holds beside what its objects name costs the operator no memory.
package secrets

import (
	"context"
	"fmt"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Store reads Secrets by namespace.
type Store struct {
	// Changed is called when a Secret of an admitted namespace came, went or changed.
	Changed func(types.NamespacedName)

	ctx    context.Context
	config *rest.Config
	client kubernetes.Interface

	mu         sync.Mutex
	namespaces map[string]*informer
}

// recheck is how long a refusal is believed before it is asked again; a new RoleBinding is told by Forget at once.
const recheck = 30 * time.Second

// patience bounds how long a namespace whose Secrets cannot be listed holds up the others.
const patience = 10 * time.Second

// New gives a store whose informers live as long as ctx.
func New(ctx context.Context, config *rest.Config, changed func(types.NamespacedName)) (*Store, error) {
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Store{Changed: changed, ctx: ctx, config: config, client: c, namespaces: map[string]*informer{}}, nil
}

// Get gives a Secret, nil if it is not there. admitted is false where Dizuo may not read Secrets.
func (s *Store) Get(ctx context.Context, key types.NamespacedName) (secret *corev1.Secret, admitted bool, err error) {
	i, err := s.informer(ctx, key.Namespace)
	if err != nil || i.cache == nil {
		return nil, false, err
	}
	seen := metadata()
	if err := i.cache.Get(ctx, key, seen); err != nil {
		return nil, true, client.IgnoreNotFound(err)
	}
	if held := i.holds(key.Name, seen.ResourceVersion); held != nil {
		return held.DeepCopy(), true, nil
	}
	secret, err = s.Fresh(ctx, key)
	if secret == nil {
		return nil, true, err
	}
	i.hold(secret)
	return secret.DeepCopy(), true, nil
}

// Fresh gives a Secret of an admitted namespace from the API server itself, nil if it is not there.
func (s *Store) Fresh(ctx context.Context, key types.NamespacedName) (*corev1.Secret, error) {
	secret, err := s.client.CoreV1().Secrets(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // no Secret is no error
	}
	if err != nil {
		return nil, fmt.Errorf("Secret %s: %w", key, err)
	}
	return secret, nil
}

// Labelled gives the metadata of the Secrets of a namespace that carry labels; none where Dizuo is not admitted.
func (s *Store) Labelled(ctx context.Context, namespace string, labels client.MatchingLabels) ([]metav1.PartialObjectMetadata, error) {
	i, err := s.informer(ctx, namespace)
	if err != nil || i.cache == nil {
		return nil, err
	}
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err = i.cache.List(ctx, &list, client.InNamespace(namespace), labels)
	return list.Items, err
}

// Admitted reports whether Dizuo may read Secrets in a namespace.
func (s *Store) Admitted(ctx context.Context, namespace string) (bool, error) {
	i, err := s.informer(ctx, namespace)
	return err == nil && i.cache != nil, err
}

// Forget makes the store ask again whether a namespace admits Dizuo, because its role bindings changed.
func (s *Store) Forget(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.namespaces[namespace]; i != nil && i.cache == nil {
		delete(s.namespaces, namespace)
	}
}

// Close ends the informer of a namespace, because it is gone or no longer admits Dizuo.
func (s *Store) Close(namespace string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.namespaces[namespace]; i != nil && i.stop != nil {
		i.stop()
	}
	delete(s.namespaces, namespace)
}

func (s *Store) informer(ctx context.Context, namespace string) (*informer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.namespaces[namespace]
	if i != nil && (i.cache != nil || time.Since(i.refused) < recheck) {
		return i, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	allowed, err := s.allowed(ctx, namespace)
	if err != nil {
		return nil, err
	}
	if !allowed {
		i = &informer{refused: time.Now()}
		s.namespaces[namespace] = i
		return i, nil
	}
	i, err = s.start(ctx, namespace)
	if err != nil {
		return nil, err
	}
	s.namespaces[namespace] = i
	return i, nil
}

// allowed asks the API server whether we may list and watch Secrets in a namespace, because a list that is forbidden would be
// tried for ever.
func (s *Store) allowed(ctx context.Context, namespace string) (bool, error) {
	for _, verb := range []string{"list", "watch", "patch"} {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Resource: "secrets"},
		}}
		got, err := s.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return false, fmt.Errorf("ask for access to Secrets in namespace %s: %w", namespace, err)
		}
		if !got.Status.Allowed {
			return false, nil
		}
	}
	return true, nil
}
