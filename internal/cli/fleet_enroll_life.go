package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/offline"
)

// defaultLife is the default of spec.identity.x509.certificateDuration of a DeviceFleet.
const defaultLife = 43800 * time.Hour

// life gives how long certificates last: what --validity says, else what the fleet says. What is not as the fleet says is told, and where
// the CA ends first.
func (a *app) life(ctx context.Context, e *enrollment, ca *authority) (time.Duration, error) {
	declared, err := a.declaredLife(ctx, e)
	if err != nil {
		return 0, err
	}
	life := e.validity
	switch {
	case life == 0 && declared == 0:
		life = defaultLife
		a.note([]string{fmt.Sprintf("certificateDuration of DeviceFleet %s is not known here; taken is its default, %s. Give the fleet with -f, or --validity", e.fleet, hours(life))})
	case life == 0:
		life = declared
	case declared != 0 && life < declared:
		a.note([]string{fmt.Sprintf("--validity %s is shorter than certificateDuration of DeviceFleet %s, %s; taken as given", hours(life), e.fleet, hours(declared))})
	case declared != 0 && life > declared:
		a.note([]string{fmt.Sprintf("--validity %s is longer than certificateDuration of DeviceFleet %s, %s; taken as given", hours(life), e.fleet, hours(declared))})
	}
	if end := ca.certificate.NotAfter; end.Before(a.now().Add(life)) {
		a.note([]string{fmt.Sprintf("the CA ends at %s, and the certificates with it, before %s are over", end.UTC().Format(time.RFC3339), hours(life))})
	}
	return life, nil
}

// declaredLife reads spec.identity.x509.certificateDuration from the files, else from the cluster that has the Secret; 0 where it is not
// known.
func (a *app) declaredLife(ctx context.Context, e *enrollment) (time.Duration, error) {
	var fleet *v1alpha1.DeviceFleet
	switch {
	case len(e.files.paths) > 0:
		set, err := offline.Load(ctx, a.source(&e.files), "default")
		if err != nil {
			return 0, err
		}
		for _, o := range set.Objects {
			f, ok := o.Object.(*v1alpha1.DeviceFleet)
			switch {
			case !ok || f.Name != e.fleet:
			case o.Invalid:
				return 0, fmt.Errorf("DeviceFleet %s is not valid; see `dizuo lint`", e.fleet)
			default:
				fleet = f
			}
		}
		if fleet == nil {
			return 0, fmt.Errorf("-f holds no DeviceFleet %s; give the file that has it", e.fleet)
		}
	case e.secret != "":
		at, err := namespaced("--secret", e.secret)
		if err != nil {
			return 0, err
		}
		c, _, err := e.kube.connect()
		if err != nil {
			return 0, err
		}
		fleet = &v1alpha1.DeviceFleet{}
		if err := c.Get(ctx, types.NamespacedName{Namespace: at.Namespace, Name: e.fleet}, fleet); err != nil {
			a.note([]string{fmt.Sprintf("DeviceFleet %s/%s: %v", at.Namespace, e.fleet, err)})
			return 0, nil
		}
	default:
		return 0, nil
	}
	if x := fleet.Spec.Identity.X509; x != nil && x.CertificateDuration.Duration > 0 {
		return x.CertificateDuration.Duration, nil
	}
	return defaultLife, nil
}

// hours writes a duration as an object's YAML does.
func hours(d time.Duration) string { return strings.TrimSuffix(d.String(), "0m0s") }
