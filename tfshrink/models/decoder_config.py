from tfshrink.decoder_config import DecoderConfig  # noqa
