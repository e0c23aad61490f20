package config

import (
	"crypto/x509"
	"regexp"
	"slices"
	"strings"
	"time"
)

// secret reads a value that is in a variable, or in the file that another names.
func (r *reader) secret(name string) (value Secret, file string) {
	value, file = Secret(r.getenv(name)), r.getenv(name+"_FILE")
	if value != "" && file != "" {
		r.fault(name+"_FILE", "is set, and so is %s: leave one of them out", name)
	}
	return value, file
}

// scope reads where limits hold. Fleets never fall back to counting for themselves unless the operator says so.
func (r *reader) scope(c *Config) {
	c.Redis, c.RedisFile = r.secret("REDIS_URL")
	named := c.Redis != "" || c.RedisFile != ""
	c.RedisCA = r.getenv("REDIS_CA")
	switch {
	case c.RedisCA == "":
	case c.RedisFile == "" && !strings.HasPrefix(string(c.Redis), "rediss://"): // a file is judged where it is read
		r.fault("REDIS_CA", "is set, and REDIS_URL does not begin with rediss://, so that nothing would be checked")
	case !x509.NewCertPool().AppendCertsFromPEM([]byte(c.RedisCA)):
		r.fault("REDIS_CA", "holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----")
	}
	if c.RedisAccount = r.choice("REDIS_LOGIN", "url", "url", "google") == "google"; c.RedisAccount && c.RedisFile == "" && !strings.HasPrefix(string(c.Redis), "rediss://") {
		r.fault("REDIS_LOGIN", "is google, and REDIS_URL does not begin with rediss://: access tokens are sent over TLS alone")
	}
	c.Project = r.getenv("GOOGLE_CLOUD_PROJECT")
	r.databases(c)
	if c.StoreFile = r.getenv("STORE_FILE"); c.StoreFile != "" && c.Project != "" {
		r.fault("STORE_FILE", "is set, and GOOGLE_CLOUD_PROJECT names the store: leave one of them out")
	}
	if c.Emulator = r.getenv("FIRESTORE_EMULATOR_HOST"); c.Emulator != "" && c.Project == "" {
		r.fault("GOOGLE_CLOUD_PROJECT", "is not set, and FIRESTORE_EMULATOR_HOST needs a project, of any name")
	}
	switch scope := r.getenv("GOVERNOR_SCOPE"); {
	case scope != "" && scope != "fleet" && scope != "instance":
		r.fault("GOVERNOR_SCOPE", "%q is not one of fleet, instance", scope)
	case scope == "instance" && named:
		r.fault("GOVERNOR_SCOPE", "is instance, and REDIS_URL is set: leave one of them out")
	case scope == "fleet" && !named:
		r.fault("REDIS_URL", "is not set, and GOVERNOR_SCOPE=fleet needs it")
	case scope == "" && !named && c.Governed && c.Platform != Local:
		r.fault("REDIS_URL", "is not set, and limits must hold over all instances on %s: set it, or declare GOVERNOR_SCOPE=instance and run one instance", c.Platform)
	}
	c.Standalone = !named
}

// databases reads where in Firestore things are: all in one database, or in three.
func (r *reader) databases(c *Config) {
	c.Databases = r.list("FIRESTORE_DATABASE", "(default)")
	switch all := slices.Compact(slices.Sorted(slices.Values(c.Databases))); {
	case len(c.Databases) != 1 && len(c.Databases) != 3:
		r.fault("FIRESTORE_DATABASE", "names %d databases: name one for all, or three: of what operators order, of what instances count, of receipts", len(c.Databases))
	case len(all) != len(c.Databases):
		r.fault("FIRESTORE_DATABASE", "names a database twice: name one for all, or three")
	}
}

// keyVersion is how Cloud KMS names one: https://docs.cloud.google.com/kms/docs/resource-hierarchy.
var keyVersion = regexp.MustCompile(`^projects/[\w.:-]+/locations/[\w-]+/keyRings/[\w-]+/cryptoKeys/[\w-]+/cryptoKeyVersions/[0-9]+$`)

// bucket is where objects are in Cloud Storage: https://docs.cloud.google.com/storage/docs/buckets#naming.
var bucket = regexp.MustCompile(`^gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?$`)

// receipts reads how decisions are recorded.
func (r *reader) receipts(c *Config) {
	if r.getenv("RECEIPTS") != "" {
		c.Receipts = r.choice("RECEIPTS", "", "true", "false")
	}
	c.ReceiptKeyFile = r.text("RECEIPT_KEY_FILE", "")
	c.ReceiptKMSKey = r.text("RECEIPT_KMS_KEY", "")
	switch {
	case c.ReceiptKMSKey == "":
	case !keyVersion.MatchString(c.ReceiptKMSKey):
		r.fault("RECEIPT_KMS_KEY", "%q is not the name of a version of a key, such as projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1", c.ReceiptKMSKey)
	case c.ReceiptKeyFile != "":
		r.fault("RECEIPT_KMS_KEY", "is set, and so is RECEIPT_KEY_FILE: leave one of them out")
	}
	c.RootKeyFile, c.RootKMSKey = r.text("RECEIPT_ROOT_KEY_FILE", ""), r.text("RECEIPT_ROOT_KMS_KEY", "")
	switch {
	case c.RootKMSKey == "":
	case !keyVersion.MatchString(c.RootKMSKey):
		r.fault("RECEIPT_ROOT_KMS_KEY", "%q is not the name of a version of a key, such as projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1", c.RootKMSKey)
	case c.RootKeyFile != "":
		r.fault("RECEIPT_ROOT_KMS_KEY", "is set, and so is RECEIPT_ROOT_KEY_FILE: leave one of them out")
	}
	if since := r.text("RECEIPT_ROOTS_SINCE", ""); since != "" {
		var err error
		if c.RootsSince, err = time.Parse(time.RFC3339, since); err != nil {
			r.fault("RECEIPT_ROOTS_SINCE", "%q is not a time such as 2026-12-01T00:00:00Z", since)
		}
	} else if c.RootKeyFile+c.RootKMSKey != "" {
		r.fault("RECEIPT_ROOTS_SINCE", "is not set, and there is a key of roots: say from when on it alone makes them, here and to every process that writes receipts")
	}
	c.ReceiptRetentionDays = r.integer("RECEIPT_RETENTION_DAYS", 400, 1, 36500)
	if c.BackupPlace = r.text("BACKUP_PLACE", ""); strings.Contains(c.BackupPlace, "://") && !bucket.MatchString(c.BackupPlace) {
		r.fault("BACKUP_PLACE", "%q is neither gs://BUCKET/PREFIX nor a folder", c.BackupPlace)
	} else if c.BackupPlace != "" && c.Receipts == "false" {
		r.fault("BACKUP_PLACE", "is set, and so is RECEIPTS=false, which leaves nothing that could be copied there")
	}
	c.ReceiptStoreDays = c.ReceiptRetentionDays
	if r.getenv("RECEIPT_STORE_DAYS") == "" {
		return
	}
	switch c.ReceiptStoreDays = r.integer("RECEIPT_STORE_DAYS", c.ReceiptRetentionDays, 7, 36500); {
	case c.ReceiptStoreDays > c.ReceiptRetentionDays:
		r.fault("RECEIPT_STORE_DAYS", "%d is more than the %d of RECEIPT_RETENTION_DAYS", c.ReceiptStoreDays, c.ReceiptRetentionDays)
	case c.ReceiptStoreDays < c.ReceiptRetentionDays && c.BackupPlace == "":
		r.fault("RECEIPT_STORE_DAYS", "is less than RECEIPT_RETENTION_DAYS, and BACKUP_PLACE is not set: name the place where receipts are archived")
	}
}
