# List prices in USD, in us-central1 where they differ by region, as known in November 2026: compare them with the pages before you rely on
# them. Committed use and free tiers are not in them. A change of a price is a change here.
locals {
  price = {
    # https://cloud.google.com/run/pricing
    instance_cpu_second = 0.000018 # instance-based billing: as long as an instance is there
    instance_gib_second = 0.000002
    request_cpu_second  = 0.000024 # request-based billing: while requests are served, in steps of 100 ms
    request_gib_second  = 0.0000025
    idle_cpu_second     = 0.0000025 # request-based billing: an instance that is kept and serves nothing
    idle_gib_second     = 0.0000025
    request_million     = 0.40

    # https://cloud.google.com/kubernetes-engine/pricing
    cluster_hour = 0.10
    pod_cpu_hour = 0.0445
    pod_gib_hour = 0.0049225
    # https://cloud.google.com/compute/vm-instance-pricing
    node_hour = 0.095 # n1-standard-2

    # https://cloud.google.com/memorystore/docs/redis/pricing: of 1 to 4 GB; larger ones cost less for each GB
    redis_gb_hour    = 0.049
    redis_ha_gb_hour = 0.064

    # https://cloud.google.com/firestore/pricing: operations for each 100 000, storage for each GiB and month. Documents that a TTL policy
    # deletes are deletes. What PITR keeps is billed like the database once more, and each backup as a whole.
    firestore_reads   = 0.03
    firestore_writes  = 0.09
    firestore_deletes = 0.01
    firestore_stored  = 0.15
    firestore_pitr    = 0.15
    firestore_backup  = 0.03

    # https://cloud.google.com/storage/pricing: a GiB of the class Standard a month, and 10 000 operations that write or list (class A), and
    # that read (class B). What is written by the day is few operations.
    bucket_gib     = 0.02
    bucket_changes = 0.05
    bucket_reads   = 0.004

    # https://cloud.google.com/stackdriver/pricing
    log_gib            = 0.50 # kept for 30 days
    samples_million    = 0.06 # of Managed Service for Prometheus, up to 50 billion a month
    spans_million      = 0.20
    condition          = 0.10 # of an alert, a month
    evaluated_million  = 0.35 # time series that alerts have looked at
    uptime_thousand    = 0.30
    uptime_unpriced    = 1e6    # checks a month in a project that cost nothing: more than three environments have
    uptime_checks_hour = 6 * 60 # from six places, every minute

    # https://cloud.google.com/nat/pricing: for each instance that uses it, up to 32, and for its address
    nat_instance_hour = 0.0014
    nat_address_hour  = 0.005

    # https://cloud.google.com/vpc/network-pricing#lb: up to five forwarding rules
    balancer_hour = 0.025

    # https://cloud.google.com/secret-manager/pricing: a version a month, and 10 000 accesses
    secret          = 0.06
    secret_accesses = 0.03

    # https://cloud.google.com/kms/pricing: a version of a key of protection level SOFTWARE a month, and 10 000 signatures
    key            = 0.06
    key_signatures = 0.03

    # https://cloud.google.com/artifact-registry/pricing: a GiB a month
    image_gib = 0.10

    # https://cloud.google.com/scheduler/pricing: a job a month, however often it runs
    schedule = 0.10

    # https://cloud.google.com/build/pricing: a minute of e2-highcpu-8, which tests and builds, and of the default machine, on which Cloud
    # Deploy renders, deploys and verifies. https://cloud.google.com/deploy/pricing: pipelines with one target cost nothing.
    build_minute  = 0.016
    deploy_minute = 0.006
  }
}
