/** What tests of layers models share. */
import { tf } from './tf.ts';

/** What a model is saved as. */
export async function saved(
  model: tf.LayersModel | tf.GraphModel,
  config?: tf.io.SaveConfig,
): Promise<tf.io.ModelArtifacts> {
  let artifacts: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (given) => {
      artifacts = given;
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
    }),
    config,
  );
  return artifacts!;
}
