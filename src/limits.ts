/**
 * Every limit on what comes from outside, and every size of our own buffers, in one place.
 * Sizes are bytes, times are milliseconds, unless the name says otherwise.
 */

const KiB = 1024;
const MiB = 1024 * KiB;

export const limits = {
  /** One read or write of bulk content. */
  chunk: 1 * MiB,
  /** Reading a file from its start to its end: pieces, and how many are on their way. */
  readAhead: { chunk: 256 * KiB, depth: 4 },
  /**
   * Hashing in a thread beside writing (blobs/hashing.ts): files from a size on, in steps, of which some are queued; read
   * in pieces. The thread ends when nobody needed it for `idle`; `young` is the MiB that it may fill before it tidies up.
   */
  hashing: { from: 8 * MiB, step: 1 * MiB, queued: 64, piece: 256 * KiB, idle: 10_000, young: 1 },
  /** Staged bytes between two early flushes: bounds dirty pages, so that the last fsync is short. */
  flushEvery: 128 * MiB,
  /** Bytes of a resumable writer that a killed process or a power cut may cost at most. */
  checkpointEvery: 64 * MiB,
  /** Blobs in memory that are stored together (blobs/small-blobs.ts). */
  storeTogether: 64,
  /** Stored blobs are written down together: after so many bytes, or so many blobs, or so long a time. */
  recordTogether: { bytes: 64 * MiB, blobs: 100, time: 10 * 60_000 },
  /** How long to wait while other processes set up or clean up their folders of partial files. */
  partialLockWait: 30_000,
  /** Resumable partial files that nobody came back for. */
  partialRetention: 14 * 24 * 3600_000,
  /** Kept for a full disk: without it not even the catalog could be opened there (blobs/space-reserve.ts). */
  spaceForEmergency: 1 * MiB,
  /** How long to wait for others to let go of the data directory. */
  directoryLockWait: 3_000,
  /** An interrupted verify is gone on with for so long; later it begins anew. */
  verifyResume: 7 * 24 * 3600_000,
  /** Kept free on the data directory's file system when an import asks for space. */
  spaceReserve: 64 * MiB,
  /** Taken while an import is being written down, so that a failure can be written down on a full disk, too. */
  spareRoom: 256 * KiB,

  /** Sidecars, signatures, keys: read whole, so bounded. An aggregated sha256sum.txt of a vendor is a few KiB. */
  checksumFile: 1 * MiB,
  checksumLines: 10_000,
  signatureFile: 64 * KiB,
  keyFile: 1 * MiB,
  /** OpenPGP packets of a signature file (each may be one signature) and of a key file. */
  signaturePackets: 64,
  keyPackets: 10_000,
  /** How far a signature may be dated ahead of our clock: clocks are wrong, on both sides. */
  clockTolerance: 24 * 3600_000,

  /** A vendor's version or file name (vendor.md C1). */
  releaseName: 255,
  /** Digits of one number in a release name: below 2^53, so numbers stay exact in JSON and in npm's semver. */
  releaseDigits: 15,
  /** A range of releases, such as `>=6.2 <6.3`. */
  releaseRange: 1024,

  hunt: {
    depth: 12,
    entries: 1_000_000,
  },

  iso: {
    directoryBytes: 64 * MiB,
    directoryDepth: 256,
    entries: 1_000_000,
    continuationAreas: 64,
    symlinkBytes: 4 * KiB,
    nameBytes: 1 * KiB,
    volumeDescriptors: 64,
    extents: 4096,
    /** One read of a directory. */
    directoryChunk: 64 * KiB,
    /** Continuation areas of one walk, taken together, each counted as at least `continuationFloor`. */
    continuationBytes: 256 * MiB,
    continuationFloor: 256,
    /** All files together, in sizes of the image: hard links share their bytes, but files that overlap a thousandfold are a trap. */
    contentTimes: 100,
    /** Read of a file that describes the image (.treeinfo, .discinfo, manifest), and kept of it. */
    factsBytes: 64 * KiB,
    facts: 64,
    factLength: 256,
  },

  rpm: {
    /** Tags and data of the signature header: what rpm allows. Per-file signatures of large packages stand there. */
    signature: { tags: 32, bytes: 64 * MiB },
    /** Tags (what rpm allows) and data (rpm: 256 MiB) of the header. Both headers are held in memory. */
    main: { tags: 65_535, bytes: 64 * MiB },
    /** Bytes of a name, version, release or architecture: together they become a file's name. */
    identityPart: 255,
    files: 1_000_000,
    /** One path, as the system allows; all of them: directory names are recorded once and may be shared by many. */
    pathBytes: 4 * KiB,
    pathsBytes: 512 * MiB,
    /** Of one kind. A name may be a rich expression. */
    dependencies: 1_000_000,
    dependencyName: 64 * KiB,
    dependencyVersion: 1 * KiB,
    changelogs: 100_000,
    /** Of one kind. */
    payloadDigests: 16,
    /** Of a list of strings, decoded at once. */
    strings: 16 * KiB,
    /** One read of a package. Several hashes go over it while it is in the processor's cache. */
    piece: 256 * KiB,
  },

  repodata: {
    /** A repomd.xml of somebody else, and the files that it names. */
    repomd: 1 * MiB,
    records: 100,
    depth: 16,
    /** A file of groups, update notices or modules that is carried along. */
    carried: 64 * MiB,
    /** Metadata of somebody else: a file of it, as it is fetched and decompressed; packages that it lists. */
    foreign: 1024 * MiB,
    foreignOpen: 4096 * MiB,
    packages: 500_000,
    /** Attributes of one element, and characters of one that are read. */
    attributes: 64,
    text: 64 * KiB,
    /** Lists of mirrors: their bytes, and mirrors that are tried. */
    mirrorList: 1 * MiB,
    mirrors: 100,
    /** Characters that one package may add to one metadata file. Real ones stay below 10 MiB. */
    fragment: 64 * MiB,
    /** Packages that are compressed together, on average; at most four times as many. */
    groupPackages: 64,
    /** XML that is compressed at once, unless a single package has more. */
    member: 1 * MiB,
    /** XML of members in a row that are copied at once, unless a single one has more. */
    run: 1 * MiB,
    /** Compressed parts of one of three files under way: how many, and all their bytes. */
    pending: 4,
    pendingBytes: 6 * MiB,
    /** The index at the end of a metadata file: 24 bytes for each part. */
    index: 16 * MiB,
  },

  packages: {
    /** Metadata is served for so long after it was replaced: clients may be between repomd.xml and what it names. */
    keepFormer: 24 * 3600_000,
    /** So many that come are looked up one by one; for more, all that is published is read. */
    lookedUp: 500,
    /** Descriptions of packages held before they are recorded. */
    recordBatch: 100,
    /** Threads that help to verify the packages of an image, fewer than there are cores; and from which size of it on, in bytes. */
    threads: 2,
    threadsFrom: 32 * MiB,
    /** Packages on their way through each thread. */
    queued: 4,
    /** MiB that a thread may fill before it tidies up: without it each takes 48. */
    threadYoung: 8,
    /** Packages that one message names. */
    named: 20,
    /** Groups within groups of a rich dependency. */
    richDepth: 64,
    /** Characters of a line of a list of what a base system provides. */
    platformLine: 64 * KiB,
    /** One read of such a list. */
    platformPiece: 64 * KiB,
  },

  /** Entries of a tar whose headers are walked to see that it is whole. */
  tarEntries: 1_000_000,

  path: {
    bytes: 1024,
    depth: 32,
  },

  http: {
    headerBytes: 16 * KiB,
    headersTimeout: 20_000,
    /** A request has no body here; whoever sends slowly is cut. */
    requestTimeout: 30_000,
    keepAliveTimeout: 65_000,
    /** No byte accepted by the client for this long. */
    idleTimeout: 120_000,
    connections: 20_000,
    ranges: 32,
    /** How long a drain waits for responses under way. */
    drainTimeout: 30_000,
    pageSize: 1000,
    headerFields: 100,
    /** A request's body is never read; up to this size it is skipped, above it the connection is closed. */
    requestBody: 64 * KiB,
    /** Read buffers of all responses together, beside one of the smallest size for each connection. */
    buffers: 32 * MiB,
    /** One read buffer: what a slow client gets, what every client begins with. `chunk` is the largest. */
    smallBuffer: 16 * KiB,
    firstBuffer: 64 * KiB,
    /** A client that takes longer than this for one buffer is slow: it gets smaller ones. */
    slowWrite: 50,
  },

  cache: {
    /** Largest body kept in memory. */
    body: 1 * MiB,
    /** Largest body that also is kept as a string, so that head and body leave in one write. */
    text: 12 * KiB,
    /** Path lookups kept in memory. */
    lookups: 50_000,
    /** How long requests go by one look at the catalog's version, milliseconds: about as long as a commit takes. */
    versionAge: 1,
    /** Blobs kept open between requests. */
    openBlobs: 64,
    /** An open blob that nobody reads for this long is closed: a deleted file keeps its space until then. */
    openBlobIdle: 10_000,
  },

  /** Blobs hashed at the same time because their stamp changed. */
  proofs: 2,

  catalog: {
    /** How often a change is made anew because somebody else published meanwhile. */
    attempts: 20,
    /** How long a writer waits for another process's transaction. */
    busyTimeout: 60_000,
    /** How long it sleeps at most before it asks for the lock again. */
    busyPoll: 25,
    /** Prepared statements kept. */
    statements: 200,
    /** Rows read or removed at a time. */
    page: 500,
    /** A long job lets others have the lock after this time. */
    turn: 250,
    /** Pages that one of the two connections keeps in memory. */
    cache: 8 * MiB,
    /** The write-ahead log is cut to this after a large transaction. */
    journal: 64 * MiB,
    /** A disk that cannot hold so much more is full: SQLite makes a file of this size when it opens a catalog. */
    shared: 64 * KiB,
    /** How long the verdict stands whether a damaged catalog can be read at all: finding out reads all of it. */
    probeAge: 60_000,
    /** Revision files that may be missing in between, for the others still to be used. */
    gaps: 10_000,
    /** Damaged rows that a check names. */
    findings: 100,
  },

  /** What a running server may answer to a command that asks it how it is. */
  apiAnswer: 64 * MiB,

  proxy: {
    /** A source that broke off after so many bytes is asked again at once, for the rest. */
    worthAsking: 64 * KiB,
    /** Waiting for a name to be looked up and a connection to stand, and then for the head of an answer. */
    connectTimeout: 20_000,
    answerTimeout: 60_000,
    /** No byte from an upstream for this long. */
    idleTimeout: 60_000,
    redirects: 10,
    /** Connections to one upstream, and how many of them are kept while nothing is asked: as many as `mirror.packages`. */
    connections: 64,
    idleConnections: 16,
    headerBytes: 64 * KiB,
    /** Bodies from this size on pass the HTTP parser by (upstream/direct-body.ts), and in pieces of at most so much. */
    directFrom: 64 * MiB,
    directPiece: 256 * KiB,
    /** A body whose length nobody says. */
    unknownSize: 64 * MiB,
    /** A reader so far ahead of what is being fetched does not wait for it. */
    ahead: 4 * MiB,
    /** A file whose older copy can stand in is given out when it is whole, unless it is longer. */
    heldBack: 1 * MiB,
    /** What is fetched at a time once readers are at several places. */
    stretch: 32 * MiB,
    /** Requests for one file at the same time. */
    stretches: 9,
    /** Digests of packages that are kept in memory, and how long the list may be from which they come. */
    packageDigests: 200_000,
    primaryBytes: 1024 * MiB,
    /** Between two rounds through all sources: at first, at most; and how often. */
    retryDelay: 30_000,
    maxRetryDelay: 3600_000,
    attempts: 10,
    /** A fill altogether. */
    timeout: 10_800_000,
    /** How long nobody waits for a fill, before it may be given up. */
    abandonAfter: 10_000,
    /** Clients whose bandwidth is counted at the same time. */
    clients: 10_000,
    /** Health of a source: so many requests are looked at; so many failed ones make it left. */
    window: 10,
    failures: 6,
    probeEvery: 15_000,
    /** Paths that nobody has: how long that is believed, and how many are remembered. */
    missingAge: 10_000,
    missing: 10_000,
    /** How long metadata is taken as current where its source does not say, and a listing. */
    fresh: 60_000,
    /** How long content may be served after it could last be asked for. */
    stale: 30 * 24 * 3600_000,
    /** What a source may say of that at most. */
    freshMost: 24 * 3600_000,
    /** How late it may be written down that something was used. */
    usedEvery: 60_000,
    /** Files that are looked at together when room is made, and up to which size they go last. */
    evictionLook: 10_000,
    smallFile: 1 * MiB,
    /** One line of a conductor's listing. */
    listingLine: 64 * KiB,
    /** What a conductor answers to the question which releases it has. */
    releases: 16 * MiB,
    /** How long the answers of all to that question are believed. */
    versionsAge: 10_000,
    /** Tunnels of the forward proxy. */
    tunnels: 256,
    tunnelIdle: 300_000,
  },

  mirror: {
    /** Entries of one folder of a site, bytes of its listing, characters of a name, and how long one listing may take. */
    entries: 100_000,
    listingBytes: 32 * MiB,
    jsonBytes: 32 * MiB,
    name: 255,
    listingTime: 10 * 60_000,
    /** A listing that is kept so that it need not come again, and all that one rule keeps. */
    keptListing: 1 * MiB,
    keptListings: 16 * MiB,
    /** Folders below a rule's path: how deep, how many, and how many files in all. */
    depth: 4,
    folders: 1000,
    files: 200_000,
    /** Images that are fetched at the same time. */
    parallel: 3,
    /** Packages of a repository that are fetched at the same time. */
    packages: 16,
    /** Packages up to this size are held in memory until they are verified. */
    smallPackage: 512 * KiB,
    /** Rounds over what failed, the first included; and how long to wait before the next, doubling. */
    rounds: 3,
    retryDelay: 2000,
    /** How often one file is gone on with in one round, as long as each time something new came. */
    resumes: 100,
    /** Syncs of one upstream that are remembered, and what each tells of: paths, failures, warnings. */
    history: 100,
    told: 500,
    /** How far ahead of the clock here the time may be that a repomd.xml says of itself. */
    ahead: 24 * 3600_000,
    /** Shortest time between two scheduled syncs. */
    leastInterval: 60_000,
    /** The first sync of a site that was never mirrored comes within a part of this. */
    soon: 60_000,
    /** Part of that time by which a scheduled sync may be late, so that many sites do not ask at once. */
    jitter: 0.1,
    /** Characters kept of what a scheduled sync says on standard error. */
    stderr: 4096,
    /** How long a scheduled sync may take to stop. */
    stopWait: 20_000,
  },

  replica: {
    /** How often the HA twin is asked, give or take a third; how seldom while it does not answer, or what it has is wrong. */
    pollEvery: 3_000,
    pollMost: 15_000,
    failMost: 300_000,
    /** What it says of its repositories, how many there are, and one line of what a repository holds. */
    stateBytes: 4 * MiB,
    repositories: 10_000,
    line: 4 * MiB,
    lines: 10_000_000,
    /** What is merged in one revision: changes, and characters in which they are told. Memory holds so much. */
    batch: 20_000,
    batchBytes: 64 * MiB,
    /** Paths of a repository that have other bytes here and there; with more, nothing of it is merged. */
    refused: 1000,
    /** Files under way at once. */
    parallel: 4,
    /** Paths that one message names. */
    named: 20,
    /** How long somebody who waits for an answer waits for the twin's. */
    askTimeout: 2_500,
    /** How long a server that stops waits for what is being written. */
    stopTimeout: 10_000,
    /** Until a replication that failed for good is begun anew. */
    restartAfter: 10_000,
  },

  trust: {
    /** Files of TUF metadata, where the metadata above does not say how long they are. */
    rootBytes: 512 * KiB,
    timestampBytes: 16 * KiB,
    snapshotBytes: 2 * MiB,
    targetsBytes: 5 * MiB,
    /** Roots that are stepped through at once. */
    rotations: 1024,
    /** Roles that a search for a target visits. */
    delegations: 32,
    /** A list of revocations. */
    revocationsBytes: 5 * MiB,
    /** How long what an export station signs is good: 180 days. */
    validity: 180 * 24 * 3600_000,
    /** How long what offline keys sign is good: two years. */
    offlineValidity: 730 * 24 * 3600_000,
    /** One bundle may move the time that a site knows to have passed ahead by so much; so may a first root. */
    floorStep: 400 * 24 * 3600_000,
    /** Keys of one role. */
    signers: 32,
  },

  bundle: {
    /** The list of all that a bundle holds. */
    manifestBytes: 256 * MiB,
    /** One line of it: an entry, or where a blob is. */
    manifestLine: 4 * MiB,
    /** A receipt, with the digests of all that a site holds. */
    receiptBytes: 256 * MiB,
    volumes: 9999,
    /** Longest file of a bundle on FAT32. */
    fatFile: 4 * 1024 * MiB - 1,
    /** Smallest volume that can be asked for. */
    leastVolume: 1 * MiB,
    /** Kept free on a medium beside a volume, for metadata and manifest, unless these are known to be larger. */
    mediumReserve: 4 * MiB,
    /** Read of each volume at a time while their parity is computed. */
    parityPiece: 4 * MiB,
    /** Folders that are looked into for bundles, and how deep. */
    folders: 1000,
    /** Paths or digests that one message names. */
    named: 20,
  },

  scan: {
    /** Bytes of the names of files that are given to a scanner at once. Linux takes 2 MiB with the usual stack. */
    arguments: 256 * KiB,
    /** Kept of what it says, from the end; lines of that in an error's message. */
    output: 64 * KiB,
    lines: 5,
    /** How long one may tidy up that is to stop, and how long the last words of one that ended may take. */
    stopWait: 5_000,
    lastWords: 1_000,
  },

  carrier: {
    /** Characters of one segment of a name. */
    name: 128,
    /** Entries of one folder that are looked at, and how many strange ones are named. */
    entries: 100_000,
    named: 20,
    /** Over SFTP, what was sent is made durable each time so many bytes went: a cut costs no more. */
    settleEvery: 8 * MiB,
    /** Bytes of one SFTP request, and how many are on their way at once. */
    request: 32 * KiB,
    requests: 64,
    /** Until a connection stands and the login is done. */
    connectTimeout: 30_000,
    /** No answer to anything for so long, while answers are due. */
    idleTimeout: 60_000,
    /** Attempts to connect again after a connection was lost, and how long to wait after the first, doubling. */
    reconnects: 6,
    reconnectDelay: 1_000,
    /** How often one file is tried again in a row when nothing of it has come to stay meanwhile. */
    vain: 3,
    /** Of what an earlier attempt left, so much of its end is compared before it is gone on with and all is read back later. */
    compared: 8 * MiB,
    /** How long a farewell may take. */
    closeWait: 2_000,
    /** Files of passwords and passphrases. */
    secretFile: 4 * KiB,
    knownHosts: 4 * MiB,
  },

  delta: {
    /** Chunks of what a site holds that are looked through: 64 KiB each, so 64 GB. Fifty bytes of memory for each. */
    chunks: 1_000_000,
    /** Bytes of blobs that are like a new one, for what is looked for by chunks of 2 KiB, and by chunks of 500 bytes. */
    mediumBytes: 1024 * MiB,
    fineBytes: 128 * MiB,
    /** Of one recipe. */
    steps: 200_000,
    bases: 1000,
    packs: 10_000,
    openBases: 8,
    /** A recipe as text, and a delta altogether. */
    recipeBytes: 16 * MiB,
    deltaBytes: 1024 * 1024 * MiB,
    /** New bytes that are compressed together, bytes of held blobs that help with that, and their pieces. */
    pack: 8 * MiB,
    dictionary: 16 * MiB,
    dictionaryParts: 1000,
    /** Binary logarithm of how far back Zstandard may refer: a pack and its dictionary. */
    windowLog: 25,
    /** What is copied at once. */
    copy: 256 * KiB,
    /** The file in which indexes are kept; a larger one is begun anew. */
    chunkFile: 256 * MiB,
    /** A blob smaller than this is not worth an index. */
    leastBlob: 128 * KiB,
  },

  policy: {
    /** A policy text: read whole. Real ones have a few KiB. */
    bytes: 10 * MiB,
    /** Levels of JSON. The grammar of AWS needs seven. */
    depth: 100,
    /** Steps of comparing patterns, for two policies; those that need more are compared by lines. Real ones need some thousand. */
    effort: 1_500_000,
    /** Patterns of one statement in which a lint looks for its other actions. */
    wildcards: 100,
    /** Lines taken out and put in, for which the fewest are looked for. */
    lineChanges: 2_000,
    /** Lines of a text that are shown where two texts have so little in common that all between is told. */
    lines: 5_000,
    /** What a comparison tells of a pattern that two policies share in part. */
    inCommon: 20,
    /** Bytes of fetched texts that wait to be published in one revision. */
    together: 32 * MiB,
    /** What a lint tells. */
    findings: 100,
    /** Characters of the name of a release that a policy goes with, and how many of them. */
    releaseName: 255,
    releases: 100,
    /** Characters of the reason for which a version was rejected. */
    reason: 1_000,
  },

  config: {
    bytes: 1 * MiB,
    /** Faults that a message names. */
    faults: 20,
    /** Places that say again what stands elsewhere (YAML's aliases). */
    aliases: 100,
    /** Longest duration: ten years. */
    duration: 3650 * 24 * 3600_000,
  },

  log: {
    /** Characters that wait to be written; what comes on top is dropped, and counted. */
    pending: 1 * MiB,
    /** Bounds of log.maxSize and log.maxFiles. */
    leastSize: 1 * MiB,
    files: 100,
  },
} as const;
