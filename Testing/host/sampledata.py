"""The module `SampleData` as far as others use it: registering sources. Nothing is downloaded."""

import slicer


class SampleDataSource:
    def __init__(
        self,
        sampleName=None,
        sampleDescription=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileType=None,
        loadFileProperties=None,
    ):
        def many(value, count):
            return list(value) if isinstance(value, (list, tuple)) else [value] * count

        self.uris = [uris] if isinstance(uris, str) or uris is None else list(uris)
        count = len(self.uris)
        self.sampleName = sampleName
        self.sampleDescription = sampleDescription or sampleName
        self.fileNames = many(fileNames, count)
        self.nodeNames = many(nodeNames, count)
        self.checksums = many(checksums, count)
        self.loadFiles = many(loadFiles, count)
        self.loadFileType = many(loadFileType, count)
        self.loadFileProperties = loadFileProperties or {}
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        fields = (self.fileNames, self.nodeNames, self.checksums, self.loadFiles, self.loadFileType)
        if any(len(field) != count for field in fields):
            raise ValueError("All fields of sample data source must have the same length")


class SampleDataLogic:
    def __init__(self, logMessage=None):
        self.logMessage = logMessage

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileType=None,
        loadFiles=None,
        loadFileProperties={},  # noqa: B006 - as the original declares it
        checksums=None,
    ):
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        sources.append(
            SampleDataSource(
                sampleName=sampleName,
                uris=uris,
                fileNames=fileNames,
                nodeNames=nodeNames,
                thumbnailFileName=thumbnailFileName,
                loadFileType=loadFileType,
                loadFiles=loadFiles,
                loadFileProperties=dict(loadFileProperties),
                checksums=checksums,
                customDownloader=customDownloader,
            )
        )

    def sourceForSampleName(self, sampleName):
        for sources in slicer.modules.sampleDataSources.values():
            for source in sources:
                if source.sampleName == sampleName or sampleName in source.nodeNames:
                    return source
        return None

    def downloadFromSource(self, source):
        if source.customDownloader is None:
            raise RuntimeError(f"{source.sampleName} would be downloaded: not in a test")
        return source.customDownloader(source)

    def downloadSamples(self, sampleName):
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source else []

    downloadSample = downloadSamples


def downloadSamples(sampleName):
    return SampleDataLogic().downloadSamples(sampleName)


def downloadSample(sampleName):
    return downloadSamples(sampleName)[0]
