package render

import (
	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// managed gives the database of engine Managed: one PostgreSQL pod that takes connections with TLS only.
func (p platform) managed() []Object {
	env := func(name, value string) *corev1ac.EnvVarApplyConfiguration {
		return corev1ac.EnvVar().WithName(name).WithValue(value)
	}
	ready := corev1ac.Probe().WithExec(corev1ac.ExecAction().WithCommand("pg_isready", "-h", "/run/postgresql", "-U", contract.DatabaseOwner)).WithPeriodSeconds(2)
	c := corev1ac.Container().WithName("postgres").WithImage(p.Spec.Images.Postgres).WithImagePullPolicy(corev1.PullPolicy(p.Spec.Images.PullPolicy)).
		WithEnv(env("POSTGRES_USER", contract.DatabaseOwner), env("POSTGRES_DB", contract.DatabaseName),
			env("POSTGRES_PASSWORD_FILE", secretsDir+"/database/owner"), env("PGDATA", "/var/lib/postgresql/data/pgdata")).
		WithPorts(port("postgres", portDB)).WithSecurityContext(hardened()).WithReadinessProbe(ready).
		WithResources(p.resources(v1alpha1.ComponentPostgres, "20m", "96Mi")).
		WithVolumeMounts(mount("data", "/var/lib/postgresql/data"), mount("run", "/run/postgresql"), mount("tmp", "/tmp"),
			mount("database", secretsDir+"/database"), mount(secretPostgresTLS, tlsDir))
	template := p.podTemplate("postgres", userDB, "", nil, c, emptyDir("run"), emptyDir("tmp"),
		secretVolume("database", compile.SecretDatabase, "owner"), secretVolume(secretPostgresTLS, secretPostgresTLS))
	return []Object{
		p.service(compile.ServicePostgres, "postgres", v1alpha1.ServiceClusterIP, nil, portDB, portDB, "postgres"),
		p.statefulSet("postgres", compile.ServicePostgres, 1, template, "data", p.Spec.Database.Storage),
	}
}
