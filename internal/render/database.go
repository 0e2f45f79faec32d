package render

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	batchv1ac "k8s.io/client-go/applyconfigurations/batch/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

const (
	secretPostgresTLS = "dizuo-postgres-tls"
	// secretOwner holds the password of the owner of an external database.
	secretOwner = "dizuo-database-owner"
	// databaseCADir is where the CA of an external database is mounted, from the ConfigMap nameDatabaseCA.
	databaseCADir  = "/etc/dizuo-database"
	nameDatabaseCA = "dizuo-database-ca"
	componentMove  = "database-move"
)

// databases gives the objects of the engine that serves and, while the data moves, of the one that it moves to and what copies it.
func (p platform) databases() []Object {
	var out []Object
	for _, d := range p.Database.Runs() {
		switch d.Engine {
		case v1alpha1.DatabaseCloudNativePG:
			if p.Database.To != nil && d.Engine == p.Database.Serves.Engine {
				continue // the spec has no settings for it any more: it stays as it is, and is kept
			}
			out = append(out, p.cloudNativePG()...)
		case v1alpha1.DatabaseExternal:
			out = append(out, p.external(d)...)
		default:
			out = append(out, p.managed()...)
		}
	}
	switch p.Database.Phase {
	case compile.MoveCopying, compile.MoveFailed, compile.MoveDone:
		out = append(out, p.move(p.Database.Serves, *p.Database.To))
	}
	return out
}

// external keeps what pods need of a database that exists: the owner's password, and the CA.
func (p platform) external(d compile.Database) []Object {
	out := []Object{corev1ac.Secret(secretOwner, p.Namespace).WithLabels(labels(p.owner, "")).WithData(map[string][]byte{"owner": d.OwnerPassword})}
	if d.CA != "" {
		out = append(out, corev1ac.ConfigMap(nameDatabaseCA, p.Namespace).WithLabels(labels(p.owner, "")).WithData(map[string]string{"ca.crt": d.CA}))
	}
	return out
}

// caFile gives the file by which a pod verifies a database; platformCA is that of the platform's CA in this pod.
func caFile(d compile.Database, platformCA string) string {
	switch {
	case d.Engine != v1alpha1.DatabaseExternal:
		return platformCA
	case d.CA != "":
		return databaseCADir + "/ca.crt"
	}
	return ""
}

// caVolume mounts the CA of an external database where it has one.
func caVolume(databases ...compile.Database) ([]*corev1ac.VolumeApplyConfiguration, []*corev1ac.VolumeMountApplyConfiguration) {
	for _, d := range databases {
		if d.Engine == v1alpha1.DatabaseExternal && d.CA != "" {
			return []*corev1ac.VolumeApplyConfiguration{corev1ac.Volume().WithName("database-ca").WithConfigMap(corev1ac.ConfigMapVolumeSource().WithName(nameDatabaseCA))},
				[]*corev1ac.VolumeMountApplyConfiguration{mount("database-ca", databaseCADir)}
		}
	}
	return nil, nil
}

// ownerSecret names the Secret with the owner's password, under the key owner.
func ownerSecret(d compile.Database) string {
	if d.Engine == v1alpha1.DatabaseExternal {
		return secretOwner
	}
	return compile.SecretDatabase
}

// passwords mounts the passwords of the owner and of all users as files, each named by its DatabasePasswordKey.
func (p platform) passwords(volume string) *corev1ac.VolumeApplyConfiguration {
	file := func(secret string, keys ...string) *corev1ac.VolumeProjectionApplyConfiguration {
		source := corev1ac.SecretProjection().WithName(secret)
		for _, k := range keys {
			source.WithItems(corev1ac.KeyToPath().WithKey(k).WithPath(k))
		}
		return corev1ac.VolumeProjection().WithSecret(source)
	}
	var keys []string
	for _, user := range contract.DatabaseUsers() {
		keys = append(keys, contract.DatabasePasswordKey(user))
	}
	return corev1ac.Volume().WithName(volume).WithProjected(corev1ac.ProjectedVolumeSource().WithDefaultMode(0o440).
		WithSources(file(ownerSecret(p.Database.Serves), "owner"), file(compile.SecretDatabase, keys...)))
}

// setAside renames what a database holds under our schemas: a move writes over nothing.
var setAside = `DO $move$ DECLARE s text; BEGIN FOREACH s IN ARRAY ARRAY[` + literals(contract.DatabaseSchemas()) + `] LOOP
IF EXISTS (SELECT FROM pg_namespace WHERE nspname = s) THEN
EXECUTE format('ALTER SCHEMA %I RENAME TO %I', s, s || '_before_' || to_char(now(), 'YYYYMMDDHH24MISS')); END IF; END LOOP; END $move$`

// literals writes names of ours as SQL strings.
func literals(names []string) string { return "'" + strings.Join(names, "', '") + "'" }

// quiet waits until neither grid service nor gateway is connected: pods that are ending may still write. (In a command of
// Kubernetes two dollars are one, so the quotes have a name.)
var quiet = `DO $move$ BEGIN FOR i IN 1..120 LOOP
IF NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename IN (` + literals(contract.DatabaseUsers()) + `)) THEN RETURN; END IF;
PERFORM pg_sleep(1); PERFORM pg_stat_clear_snapshot(); END LOOP;
RAISE EXCEPTION 'a service is still connected as ` + strings.Join(contract.DatabaseUsers(), " or ") + `: stop it, then delete this Job'; END $move$`

// moveDeadline is the longest time of a move in seconds: one that hangs must be seen.
const moveDeadline = 24 * 3600

// move copies the schemas from one database to another, in one transaction. What the target holds is set aside only when the copy of
// the source is complete and nobody uses the target: it may be the database of somebody else, or the source itself. Owners and rights are not copied: the migration that
// runs before the grid service sets them. It is tried once: a person should look at why it failed.
func (p platform) move(from, to compile.Database) Object {
	volumes := []*corev1ac.VolumeApplyConfiguration{emptyDir("work"), emptyDir("tmp"), secretVolume("platform-ca", roleSecret(contract.UserGrid), "ca.crt")}
	caVolumes, caMounts := caVolume(from, to)
	volumes = append(volumes, caVolumes...)
	step := func(name string, d compile.Database, command ...string) *corev1ac.ContainerApplyConfiguration {
		return corev1ac.Container().WithName(name).WithImage(p.Spec.Images.Postgres).WithImagePullPolicy(corev1.PullPolicy(p.Spec.Images.PullPolicy)).
			WithCommand(command...).WithEnv(libpq(d)...).WithSecurityContext(hardened()).WithResources(p.resources(v1alpha1.ComponentPostgres, "20m", "96Mi")).
			WithVolumeMounts(mount("work", "/work"), mount("tmp", "/tmp"), mount("platform-ca", tlsDir+"/platform-ca")).WithVolumeMounts(caMounts...)
	}
	var schemas []string
	for _, s := range contract.DatabaseSchemas() {
		schemas = append(schemas, "--schema="+s)
	}
	template := p.podTemplate(componentMove, userDB, "", []*corev1ac.ContainerApplyConfiguration{
		step("quiet-source", from, "psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command="+quiet),
		step("quiet-target", to, "psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command="+quiet),
		step("dump", from, append([]string{"pg_dump", "--format=custom", "--file=/work/dump"}, schemas...)...),
		step("set-aside", to, "psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command="+setAside),
	}, step("restore", to, "pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--dbname="+to.Name, "/work/dump"), volumes...)
	template.Spec.WithRestartPolicy(corev1.RestartPolicyNever)
	template.WithAnnotations(map[string]string{"dizuo.io/from": string(from.Engine), "dizuo.io/to": string(to.Engine), compile.AnnotationMove: p.Database.Move})
	return batchv1ac.Job(compile.JobMove, p.Namespace).WithLabels(labels(p.owner, componentMove)).
		WithSpec(batchv1ac.JobSpec().WithBackoffLimit(0).WithActiveDeadlineSeconds(moveDeadline).WithTemplate(template))
}

// libpq gives the environment by which PostgreSQL's own programs connect as the owner.
func libpq(d compile.Database) []*corev1ac.EnvVarApplyConfiguration {
	const publicRoots = "/etc/ssl/certs/ca-certificates.crt"
	roots := caFile(d, tlsDir+"/platform-ca/ca.crt")
	if roots == "" {
		roots = publicRoots
	}
	out := []*corev1ac.EnvVarApplyConfiguration{}
	for _, v := range [][2]string{{"PGHOST", d.Host}, {"PGPORT", strconv.Itoa(int(d.Port))}, {"PGDATABASE", d.Name}, {"PGUSER", d.Owner},
		{"PGSSLMODE", "verify-full"}, {"PGSSLROOTCERT", roots}, {"PGCONNECT_TIMEOUT", "10"}} {
		out = append(out, corev1ac.EnvVar().WithName(v[0]).WithValue(v[1]))
	}
	return append(out, corev1ac.EnvVar().WithName("PGPASSWORD").WithValueFrom(corev1ac.EnvVarSource().
		WithSecretKeyRef(corev1ac.SecretKeySelector().WithName(ownerSecret(d)).WithKey("owner"))))
}
